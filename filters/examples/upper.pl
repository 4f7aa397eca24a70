#!/usr/bin/env perl
# Sends each message back in upper case. perl, on lines of JSON.
#
#     $ echo '{"type":"message","id":"a","data":"hello","seq":1}' | ./upper.pl
#     {"type":"message","id":"a","data":"hello","seq":1}
#     {"data":"HELLO","seq":1,"to":"a","type":"send"}
#
# Serve it: fws-pipe "to_json | ./upper.pl | from_json"
#
# Binary messages pass by: in JSON they begin with \x10. In a text \x1a is half of an escape, so the other half stays.

use strict;
use warnings;
use JSON::PP;

$| = 1;    # each line is written at once
my $json = JSON::PP->new->utf8->canonical;

while (my $line = <STDIN>) {
    print $line;
    my $frame = $json->decode($line);
    next if ($frame->{type} // "") ne "message" or $frame->{data} =~ /^\x10/;
    my $data = $frame->{data} =~ s/(\x1a.)|([^\x1a]+)/$1 \/\/ uc $2/gser;
    print $json->encode({type => "send", to => $frame->{id}, data => $data, seq => $frame->{seq}}), "\n";
}
