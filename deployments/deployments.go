// Package deployments carries what a deployment needs into the binary.
package deployments

import _ "embed"

// Indexes is firestore.indexes.json, in the form of the Firebase CLI: every composite index that a query of
// exportd needs, and the fields that need none.
//
//go:embed firestore.indexes.json
var Indexes []byte

// Permissions is permissions.yaml: the least that each process must be granted, in the form that exportd-dev
// emulators --roles takes.
//
//go:embed permissions.yaml
var Permissions []byte
