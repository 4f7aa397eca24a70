// Sends each message back to its sender. C without a library, on frames.
//
//     $ cc -O2 -o mirror mirror.c
//     $ echo '{"type":"message","id":"a","data":"hello"}' | fws-test ./mirror
//     {"data":"hello","id":"a","seq":1,"time":0.0,"type":"message"}
//     {"data":"hello","seq":1,"to":"a","type":"send"}
//
// Serve it: fws-pipe ./mirror
//
// All that it knows of msgpack is where a value ends: it copies values as they are, text, bytes and numbers alike.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef const uint8_t *bytes;

// For the msgpack types 0xc4 to 0xdf: how long the count that follows is, and how much follows whatever the count.
static const uint8_t count_size[28] = {1, 2, 4, 1, 2, 4, [21] = 1, 2, 4, 2, 4, 2, 4};
static const uint8_t rest_size[28] = {0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17};

// The end of the value at `at`; NULL when the value isn't all there yet.
static bytes skip(bytes at, bytes end)
{
    for (uint64_t values = 1; values > 0; values--) {
        if (at == end) return NULL;
        uint8_t type = *at++;
        uint64_t count = 0, rest = 0;
        if (type >= 0x80 && type <= 0xbf) {
            count = type & (type < 0xa0 ? 0x0f : 0x1f);
        } else if (type >= 0xc4 && type <= 0xdf) {
            if (end - at < count_size[type - 0xc4]) return NULL;
            for (int i = 0; i < count_size[type - 0xc4]; i++) count = count << 8 | *at++;
            rest = rest_size[type - 0xc4];
        }
        if (type == 0xde || type == 0xdf || type >> 4 == 8) values += 2 * count; // a map
        else if (type == 0xdc || type == 0xdd || type >> 4 == 9) values += count; // an array
        else rest += count; // a string, bytes, an extension
        if ((uint64_t)(end - at) < rest) return NULL;
        at += rest;
    }
    return at;
}

// The value of a key of up to 31 bytes in a frame of up to 15 keys, which every message has; NULL when there is none.
static bytes value_of(const char *key, bytes frame, bytes end)
{
    for (bytes at = frame + 1, value; at < end; at = skip(value, end)) {
        value = skip(at, end);
        if (*at == (0xa0 | strlen(key)) && !memcmp(at + 1, key, strlen(key))) return value;
    }
    return NULL;
}

static void put(const char *key, bytes value, bytes end)
{
    fputs(key, stdout);
    fwrite(value, 1, skip(value, end) - value, stdout);
}

static void handle(bytes frame, bytes end)
{
    put("", frame, end); // every frame passes on
    if (*frame >> 4 != 8) return;
    bytes type = value_of("type", frame, end), id = value_of("id", frame, end);
    bytes data = value_of("data", frame, end), seq = value_of("seq", frame, end);
    if (!type || !id || !data || !seq || skip(type, end) - type != 8 || memcmp(type, "\xa7message", 8)) return;
    put("\x84\xa4type\xa4send\xa2to", id, end); // a map of 4 keys
    put("\xa4" "data", data, end);
    put("\xa3seq", seq, end);
}

int main(void)
{
    size_t size = 1 << 16, held = 0;
    uint8_t *buffer = malloc(size);
    for (ssize_t got; buffer && (got = read(0, buffer + held, size - held)) > 0;) {
        bytes frame = buffer, end = buffer + (held += got), next;
        for (; (next = skip(frame, end)); frame = next) handle(frame, next);
        if (fflush(stdout)) return 1;
        memmove(buffer, frame, held = end - frame);
        if (held == size) buffer = realloc(buffer, size *= 2);
    }
    return held > 0; // half a frame at the end
}
