// Package localcloud runs the Google services that exportd needs (Firestore, Pub/Sub, Cloud Storage) inside
// the process: on loopback, with everything in one data folder. It is what exportd uses when it is given no
// Google Cloud project.
//
// The servers speak the real protocols, so everything else uses Google's official clients and cannot tell the
// difference; what each of them promises and refuses is said in its own package. What was acknowledged
// survives kill -9.
//
// There is no authentication. Start therefore listens on loopback addresses only.
package localcloud
