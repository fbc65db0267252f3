package apikey

import (
	"testing"
)

// TestSealedSecretsStayInPlace: a sealed secret opens in the record and under the name that it was sealed
// for, and nowhere else: whoever can write records gains nothing by moving secrets about.
func TestSealedSecretsStayInPlace(t *testing.T) {
	t.Parallel()
	s := newSealer(t)
	ids := []string{"key_one1", "key_two2", "key_one1#x", "key_one"}
	names := []string{"secret/1", "secret/2", "webhook/1", "1#secret/1"}
	moved, opened := 0, 0
	for _, id := range ids {
		for _, name := range names {
			sealed, err := s.seal(id, name, NewSecret(goldenSecret))
			if err != nil {
				t.Fatal(err)
			}
			for _, otherID := range ids {
				for _, other := range names {
					secret, err := s.open(otherID, other, sealed)
					home := id == otherID && name == other
					switch {
					case home && (err != nil || secret.Reveal() != goldenSecret):
						t.Errorf("%s of %s does not open at home: %v", name, id, err)
					case !home && err == nil:
						t.Errorf("%s of %s opens as %s of %s", name, id, other, otherID)
						opened++
					}
					if !home {
						moved++
					}
				}
			}
		}
	}
	t.Logf("%d moves tried, %d opened", moved, opened)
}
