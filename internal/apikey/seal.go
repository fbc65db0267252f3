package apikey

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"exportd/jobs"
)

// Sealer encrypts secrets for their records, with AES-GCM of a Tink keyset: a signature needs the secret
// back, so a hash cannot do. What it seals opens only in the document and under the name it was sealed for,
// so a ciphertext copied into another key's record is of no use. Safe for concurrent use.
type Sealer struct {
	keyset atomic.Pointer[openKeyset] // nil while it cannot be opened: AwaitSealer
	config KeysetConfig
}

type openKeyset struct {
	tink.AEAD
	ids map[uint32]bool // of its keys
}

// NewSealer makes a Sealer of a keyset. In production the keyset is stored encrypted by Cloud KMS and opened
// once per process (OpenSealer): no request to KMS is made for a request to the API, whose time would tell
// known keys from unknown ones.
func NewSealer(h *keyset.Handle) (*Sealer, error) {
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("make AEAD of keyset: %w", err)
	}
	k := &openKeyset{a, map[uint32]bool{}}
	for _, info := range h.KeysetInfo().GetKeyInfo() {
		k.ids[info.GetKeyId()] = true
	}
	s := new(Sealer)
	s.keyset.Store(k)
	return s, nil
}

// opened is the keyset; nil if there is none, or none yet.
func (s *Sealer) opened() *openKeyset {
	if s == nil {
		return nil
	}
	return s.keyset.Load()
}

// FileKeyset reads the keyset in the file path, which is made if it is missing, readable by its owner only.
// It is in clear: for development, where the data lies beside it.
func FileKeyset(path string) (*keyset.Handle, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = makeKeyset(path, insecurecleartextkeyset.Write)
	}
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, fmt.Errorf("keyset %s is damaged", path) // the cause may quote it
	}
	return h, nil
}

// makeKeyset writes a new keyset to a file of its own and links it to path, so that nobody ever reads half of
// one. It returns what then is in path: another process may be faster.
func makeKeyset(path string, write func(*keyset.Handle, keyset.Writer) error) (_ []byte, err error) {
	h, err := newKeyset()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

// seal encrypts a secret for the key id, under a name that is unique in its record.
func (s *Sealer) seal(id, name string, secret Secret) ([]byte, error) {
	k := s.opened()
	if k == nil {
		return nil, fmt.Errorf("seal a secret of key %s: %w", id, errNotOpen)
	}
	sealed, err := k.Encrypt([]byte(secret.Reveal()), associated(id, name))
	if err != nil {
		return nil, fmt.Errorf("seal a secret of key %s: %w", id, err)
	}
	return sealed, nil
}

var (
	// errSealed means that a secret is sealed and this keyset does not open it.
	errSealed = errors.New("sealed by another keyset")
	// errNotOpen is of what cannot be done before the keyset is open.
	errNotOpen = jobs.Unavailable("the keyset that seals secrets cannot be opened")
)

// open is the reverse of seal.
func (s *Sealer) open(id, name string, sealed []byte) (Secret, error) {
	k := s.opened()
	if k == nil {
		return Secret{}, fmt.Errorf("%w: the record is sealed and there is no keyset", errSealed)
	}
	text, err := k.Decrypt(sealed, associated(id, name))
	if err != nil && !k.made(sealed) {
		err = fmt.Errorf("%w: %w", errSealed, err)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("open a secret of key %s: %w", id, err)
	}
	return NewSecret(string(text)), nil
}

// SealText encrypts what goes to somebody who must not read or change it and brings it back. It opens for the
// same purpose alone.
func (s *Sealer) SealText(purpose string, text []byte) ([]byte, error) {
	k := s.opened()
	if k == nil {
		return nil, fmt.Errorf("seal for %s: %w", purpose, errNotOpen)
	}
	sealed, err := k.Encrypt(text, []byte("text#"+purpose)) // a secret's begins with Collection
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", purpose, err)
	}
	return sealed, nil
}

// OpenText is the reverse of SealText.
func (s *Sealer) OpenText(purpose string, sealed []byte) ([]byte, error) {
	k := s.opened()
	if k == nil {
		return nil, fmt.Errorf("open for %s: %w", purpose, errNotOpen)
	}
	text, err := k.Decrypt(sealed, []byte("text#"+purpose))
	if err != nil {
		return nil, fmt.Errorf("open for %s: %w", purpose, err)
	}
	return text, nil
}

// PassingSealer seals for as long as the process lives.
func PassingSealer() (*Sealer, error) {
	h, err := newKeyset()
	if err != nil {
		return nil, err
	}
	return NewSealer(h)
}

// made reports whether a ciphertext names a key of this keyset, opened or not: Tink puts the byte 1 and the
// key's id before it.
func (k *openKeyset) made(sealed []byte) bool {
	return len(sealed) > 5 && sealed[0] == 1 && k.ids[binary.BigEndian.Uint32(sealed[1:5])]
}

func associated(id, name string) []byte { return []byte(Collection + "/" + id + "#" + name) }
