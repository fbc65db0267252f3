# As read.mjs, by Python's own csv and by pandas.
import csv
import sys

reader, path, delimiter, header, encoding = sys.argv[1:]
encoding = {"utf-8": "utf-8-sig"}.get(encoding, encoding)  # both take a byte order mark away
if reader == "csv":
    csv.field_size_limit(1 << 24)
    with open(path, encoding=encoding, newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
else:
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding, sep=delimiter, header=0 if header == "on" else None)
    rows = frame.values.tolist()
    if header == "on":
        rows.insert(0, list(frame.columns))
for row in rows:
    print(",".join(cell.encode().hex() for cell in row))
