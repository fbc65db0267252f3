package seal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzSeal takes any bytes for a seal: the folder is as it was, damaged, or not known to be either.
func FuzzSeal(f *testing.F) {
	f.Add([]byte(`{"sub/a":{"size":1,"crc32c":3,"summed":true}}`))
	f.Add([]byte(`{"../../x":{"size":-1}}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o700), os.WriteFile(filepath.Join(dir, "sub", "a"), []byte("x"), 0o600), os.WriteFile(filepath.Join(dir, name), raw, 0o600)); err != nil {
			t.Fatal(err)
		}
		err := Check(dir, "sub")
		if _, damaged := errors.AsType[*DamagedError](err); err != nil && !damaged {
			t.Errorf("Check() = %v", err)
		}
	})
}
