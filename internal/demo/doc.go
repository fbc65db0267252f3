// Package demo makes the data that a new data folder starts with, and writes it to Firestore.
//
// The data is made of real texts and names (data/README.md names sources and licences) and is a pure function
// of [Options]: the same seed, sizes and day give the same documents, byte for byte. Each document is made
// from its own index alone, so memory does not grow with the number of rows. Secrets are the exception: they
// are drawn fresh for each database and never from the seed.
//
// What is in it, on purpose:
//   - two orgs; VIP workspaces and one that is not; channels connected and not;
//     one workspace and channel with about nine rows in ten ([Summary] names
//     it), the others with the rest, so that a query that forgets a filter shows;
//   - users in 15 scripts, many with equal lifetime values, birthdays unknown
//     or known in every month;
//   - messages of 60 days, many at one instant to the microsecond, of every
//     kind and source, with built-in and custom labels, some with line breaks;
//   - every string of csv-hazards.json that is valid UTF-8 and of blns.json, as
//     message texts of the last 31 days, all under [HazardLabel];
//   - rows with missing, null and mistyped fields, under [EdgeLabel] where
//     their labels are well formed.
//
// Rows that a healthy system would not write at all, users whose ltv is not a number and texts of up to 98
// kB, are in the second VIP workspace and not in the main one.
//
// The files in data are made by command pack, which says how to run it.
package demo
