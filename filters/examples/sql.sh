#!/bin/sh
# Answers SQL queries to a database, read-only, with rows as JSON. sqlite3 under `per_client`.
#
#     $ sqlite3 shop.db 'create table tea (name, price); insert into tea values ("Assam", 7), ("Sencha", 12);'
#     $ echo 'select * from tea where price > 10;' | ./sql.sh shop.db
#     [{"name":"Sencha","price":12}]
#
# Serve it: fws-pipe --origin none "per_client ./sql.sh shop.db"
#
# A statement ends with a semicolon. `-safe` (sqlite3 3.37) refuses commands such as .shell, and closes the client then.

exec sqlite3 -batch -safe -readonly -json "$1" 2>&1
