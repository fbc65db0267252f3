package firestoreserver

import (
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// TestEveryField: each field of each request is decided about. One that a newer client has fails here first.
func TestEveryField(t *testing.T) {
	t.Parallel()
	if list := served.Undecided(firestorepb.File_google_firestore_v1_firestore_proto.Services().Get(0), unserved); len(list) > 0 {
		t.Errorf("nothing is said of %v", list)
	}
}
