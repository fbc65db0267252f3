// Package firestoreserver is an embeddable, persistent Firestore: the gRPC service
// google.firestore.v1.Firestore in Native mode over a local storage engine, good enough that the official
// client cannot tell the difference and strict enough that a query which lacks its index in production fails
// here too.
//
// Reads at an older read_time, transactions and listeners behave as in production; the Enterprise pipelines,
// the admin API and REST are not served.
package firestoreserver
