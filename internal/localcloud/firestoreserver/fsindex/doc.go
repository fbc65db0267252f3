// Package fsindex knows which indexes a database has, from the automatic rules and a firestore.indexes.json,
// and decides as production does which of them serve a query, or which one is missing.
package fsindex
