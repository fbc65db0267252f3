// Prints the rows of a file of Parquet as one of its readers finds them, a line of JSON each: null, texts, and
// lists of both; numbers as their bits, times as microseconds and dates as days since 1970.
import fs from 'node:fs';

// JavaScript drops U+FEFF from the beginning of what it decodes, which is none of the readers' doing.
const Decoder = globalThis.TextDecoder;
globalThis.TextDecoder = class extends Decoder {
  constructor(label, options) {
    super(label, { ...options, ignoreBOM: true });
  }
};

const [reader, file] = process.argv.slice(2);

function double(f) {
  if (Number.isNaN(f)) return 'NaN';
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, f);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}

const readers = {
  async duckdb() {
    const { DuckDBInstance, DuckDBTimestampTZValue, DuckDBDateValue, DuckDBListValue } = await import('@duckdb/node-api');
    const db = await DuckDBInstance.create(':memory:', { threads: '2' });
    const result = await (await db.connect()).runAndReadAll(`SELECT * FROM read_parquet('${file}')`);
    const cell = (v) => {
      if (v instanceof DuckDBTimestampTZValue) return v.micros.toString();
      if (v instanceof DuckDBDateValue) return v.days.toString();
      if (v instanceof DuckDBListValue) return v.items.map(cell);
      return typeof v === 'number' ? double(v) : v;
    };
    return result.getRows().map((row) => row.map(cell));
  },

  async hyparquet() {
    const { asyncBufferFromFile, parquetReadObjects, parquetMetadataAsync } = await import('hyparquet');
    const rows = [];
    const source = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(source);
    // Its dates have milliseconds: numbers are taken as they are stored.
    const parsers = {
      timestampFromMicroseconds: (n) => ({ is: n.toString() }),
      dateFromDays: (n) => ({ is: n.toString() }),
    };
    const names = metadata.schema.filter((e) => !e.num_children || e.logical_type?.type === 'LIST').map((e) => e.name);
    const found = await parquetReadObjects({ file: source, metadata, parsers });
    const cell = (v) => {
      if (v === undefined || v === null) return null;
      if (Array.isArray(v)) return v.map(cell);
      if (v.is !== undefined) return v.is;
      return typeof v === 'number' ? double(v) : v;
    };
    for (const row of found) rows.push(names.filter((name) => name in row).map((name) => cell(row[name])));
    return rows;
  },

  async arrow() {
    const { readParquet } = await import('parquet-wasm/node');
    const { tableFromIPC, Type } = await import('apache-arrow');
    const table = tableFromIPC(readParquet(new Uint8Array(fs.readFileSync(file))).intoIPCStream());
    const rows = Array.from({ length: table.numRows }, () => []);
    table.schema.fields.forEach((field, i) => {
      const id = field.typeId;
      let at = 0;
      for (const data of table.getChildAt(i).data) {
        for (let k = 0; k < data.length; k++) {
          const row = rows[at++];
          if (!data.getValid(k)) {
            row.push(null);
          } else if (id === Type.Timestamp || id === Type.Date) {
            row.push(data.values[k].toString()); // as stored
          } else {
            const v = table.getChildAt(i).get(at - 1);
            row.push(id === Type.Float ? double(v) : id === Type.List ? [...v] : v);
          }
        }
      }
    });
    return rows;
  },
};

const out = fs.createWriteStream('/dev/stdout');
for (const row of await readers[reader]()) out.write(JSON.stringify(row) + '\n');
out.end();
