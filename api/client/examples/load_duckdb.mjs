// Puts a file into a table of DuckDB in the place of what is there: node load_duckdb.mjs FILE DATABASE TABLE.
//
// As text, or ids such as 00123 would lose their zeros: cast what is a number or a time.
import { DuckDBInstance } from '@duckdb/node-api';

const [file, database, table] = process.argv.slice(2);
const db = await (await DuckDBInstance.create(database)).connect();
const name = `"${table.replaceAll('"', '""')}"`;
const path = `'${file.replaceAll("'", "''")}'`;
await db.run(`CREATE OR REPLACE TABLE ${name} AS FROM read_csv(${path}, all_varchar = true, header = true, delim = ',', quote = '"', escape = '"')`);
const rows = await db.runAndReadAll(`SELECT count(*) FROM ${name}`);
console.log(`${table} has ${rows.getRows()[0][0]} rows`);
