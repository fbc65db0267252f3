package console

import "crypto/rand"

// once names a form.
func once() string { return rand.Text() }
