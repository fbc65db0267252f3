// Prints the rows of a file of CSV as one of its readers finds them: the bytes of each cell in hexadecimal
// digits, separated by commas, and - for null. Its arguments: reader, file, delimiter, on or off for a header,
// utf-8 or utf-16.
import fs from 'node:fs';

// JavaScript drops U+FEFF from the beginning of what it decodes, which is none of the readers' doing.
const Decoder = globalThis.TextDecoder;
globalThis.TextDecoder = class extends Decoder {
  constructor(label, options) {
    super(label, { ...options, ignoreBOM: true });
  }
};

const [reader, file, delimiter, header, encoding] = process.argv.slice(2);
const nodes = encoding === 'utf-16' ? 'utf16le' : 'utf8'; // Node's name of it

const readers = {
  async duckdb(options = `delim = '${delimiter}', quote = '"', escape = '"', encoding = '${encoding}', `) {
    const { DuckDBInstance } = await import('@duckdb/node-api');
    const db = await DuckDBInstance.create(':memory:', { threads: '2' });
    const result = await (await db.connect()).runAndReadAll(`SELECT * FROM read_csv('${file}', ${options}all_varchar = true, header = ${header === 'on'})`);
    return [...(header === 'on' ? [result.columnNames()] : []), ...result.getRows()];
  },
  // Quotes, delimiter and line ends as it guesses them; the encoding it does not guess.
  async 'duckdb-guess'() {
    return readers.duckdb(`encoding = '${encoding}', `);
  },
  async 'csv-parse'() {
    const { parse } = await import('csv-parse/sync');
    // It finds line ends within the bytes of UTF-16, so it gets text.
    return parse(fs.readFileSync(file, nodes), { bom: true, delimiter });
  },
  async papaparse() {
    const { default: Papa } = await import('papaparse');
    return Papa.parse(fs.readFileSync(file, nodes), { delimiter, newline: '\r\n', skipEmptyLines: true }).data;
  },
  async 'fast-csv'() {
    const { parse } = await import('@fast-csv/parse');
    const rows = [];
    for await (const row of fs.createReadStream(file, nodes).pipe(parse({ headers: false, delimiter }))) rows.push(row);
    return rows;
  },
};

const out = fs.createWriteStream('/dev/stdout');
for (const row of await readers[reader]()) out.write(row.map((c) => (c === null ? '-' : Buffer.from(c).toString('hex'))).join(',') + '\n');
out.end();
