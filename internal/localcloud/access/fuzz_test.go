package access

import "testing"

// FuzzParse takes any bytes for a file of roles.
func FuzzParse(f *testing.F) {
	f.Add([]byte("accounts: {reader: [datastore.entities.get]}"))
	f.Add([]byte("accounts: &a {b: *a}"))
	f.Add([]byte("accounts:\n  x: [pubsub.topics.list, pubsub.topics.list]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Parse(raw)
		if err != nil {
			return
		}
		for _, name := range r.Names() {
			r.Account(name).allow("Firestore/GetDocument", []string{"datastore.entities.get"})
		}
		r.Usage()
	})
}
