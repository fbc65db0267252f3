"""Puts a file into a table of PostgreSQL in the place of what is there, all or nothing: load_postgres.py FILE TABLE.

The table has a text column of each of the file's. psql is told where by its own variables (PGHOST, PGUSER, ...).
It gets the rows in COPY's text format: before version 18 it takes a line \\. within a cell of CSV for the end.
"""

import csv
import os
import subprocess
import sys

ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


csv.field_size_limit(1 << 24)  # cells are of documents of 1 MiB; by itself csv refuses them from 128 KiB

path, table = sys.argv[1], quoted(sys.argv[2])
with open(path, encoding="utf-8-sig", newline="") as file:
    rows = csv.reader(file)
    columns = [quoted(name) for name in next(rows)]
    psql = subprocess.Popen(
        ["psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1",
         "--command", f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(c + ' text' for c in columns)})",
         "--command", f"TRUNCATE {table}",
         "--command", f"COPY {table} ({', '.join(columns)}) FROM STDIN"],
        stdin=subprocess.PIPE, env={**os.environ, "PGCLIENTENCODING": "UTF8"},
    )
    try:
        for row in rows:
            line = "\t".join(cell.translate(ESCAPES) for cell in row) + "\n"
            psql.stdin.write(line.encode())
        psql.stdin.close()
    except BrokenPipeError:
        pass  # psql has said why it ended
    except BaseException:
        psql.kill()  # or it takes the end of its input for that of the file, and commits
        raise
sys.exit(psql.wait())
