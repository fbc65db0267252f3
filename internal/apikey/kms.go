package apikey

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"google.golang.org/api/cloudkms/v1"
	"google.golang.org/api/option"
)

// KeysetConfig says where the keyset is that seals secrets.
type KeysetConfig struct {
	// Path of the file. Required.
	Path string
	// KMSKey is the Cloud KMS key that the keyset is encrypted by, as in
	// "projects/P/locations/L/keyRings/R/cryptoKeys/K". Empty: the file is in clear.
	KMSKey string
	// Make a keyset where there is no file. Processes on several machines that each made one could not read
	// each other's secrets, so production makes it once, by a person.
	Make bool
	// Options reach KMS; those of the environment if empty.
	Options []option.ClientOption
}

// OpenSealer makes a Sealer of a stored keyset. With KMSKey it asks KMS once, within 30 s.
func OpenSealer(ctx context.Context, c KeysetConfig) (*Sealer, error) {
	if c.KMSKey == "" {
		return openClear(c)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	service, err := cloudkms.NewService(ctx, c.Options...)
	if err != nil {
		return nil, fmt.Errorf("reach Cloud KMS: %w", err)
	}
	wrap := kmsAEAD{ctx, service, c.KMSKey}
	data, err := os.ReadFile(c.Path)
	if errors.Is(err, fs.ErrNotExist) && c.Make {
		data, err = makeKeyset(c.Path, func(h *keyset.Handle, w keyset.Writer) error { return h.Write(w, wrap) })
	}
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	h, err := keyset.Read(keyset.NewJSONReader(bytes.NewReader(data)), wrap)
	if err != nil {
		return nil, fmt.Errorf("open keyset %s with %s: %w", c.Path, c.KMSKey, err)
	}
	return NewSealer(h)
}

// AwaitSealer makes a Sealer of a keyset that may not be there yet, or not be readable: then what is sealed
// stays so, and the store's CheckSealed looks again. A process that ended instead would tell its operators
// less, and come back no sooner.
func AwaitSealer(ctx context.Context, c KeysetConfig) *Sealer {
	s := &Sealer{config: c}
	_ = s.await(ctx) // CheckSealed tells
	return s
}

// await opens the keyset unless it is open.
func (s *Sealer) await(ctx context.Context) error {
	if s == nil || s.opened() != nil {
		return nil
	}
	now, err := OpenSealer(ctx, s.config)
	if err != nil {
		return err
	}
	s.keyset.Store(now.opened())
	return nil
}

func openClear(c KeysetConfig) (*Sealer, error) {
	if !c.Make {
		if _, err := os.Stat(c.Path); err != nil {
			return nil, fmt.Errorf("keyset: %w", err)
		}
	}
	h, err := FileKeyset(c.Path)
	if err != nil {
		return nil, err
	}
	return NewSealer(h)
}

// kmsAEAD is a tink.AEAD by Cloud KMS, for the one call that opens a keyset; that is why it may hold a
// context. Both ways are checked against corruption, as KMS recommends.
type kmsAEAD struct {
	ctx     context.Context
	service *cloudkms.Service
	key     string
}

var errCorrupt = errors.New("data was corrupted on its way to or from Cloud KMS")

func sum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// Encrypt is of tink.AEAD.
func (k kmsAEAD) Encrypt(plain, associated []byte) ([]byte, error) {
	res, err := k.service.Projects.Locations.KeyRings.CryptoKeys.Encrypt(k.key, &cloudkms.EncryptRequest{
		Plaintext: base64.StdEncoding.EncodeToString(plain), PlaintextCrc32c: sum(plain),
		AdditionalAuthenticatedData: base64.StdEncoding.EncodeToString(associated), AdditionalAuthenticatedDataCrc32c: sum(associated),
		ForceSendFields: []string{"PlaintextCrc32c", "AdditionalAuthenticatedDataCrc32c"}, // 0 is the sum of nothing
	}).Context(k.ctx).Do()
	if err != nil {
		return nil, fmt.Errorf("encrypt by KMS: %w", err)
	}
	out, err := base64.StdEncoding.DecodeString(res.Ciphertext)
	if err != nil || sum(out) != res.CiphertextCrc32c || !res.VerifiedPlaintextCrc32c {
		return nil, errCorrupt
	}
	return out, nil
}

// Decrypt is of tink.AEAD.
func (k kmsAEAD) Decrypt(sealed, associated []byte) ([]byte, error) {
	res, err := k.service.Projects.Locations.KeyRings.CryptoKeys.Decrypt(k.key, &cloudkms.DecryptRequest{
		Ciphertext: base64.StdEncoding.EncodeToString(sealed), CiphertextCrc32c: sum(sealed),
		AdditionalAuthenticatedData: base64.StdEncoding.EncodeToString(associated), AdditionalAuthenticatedDataCrc32c: sum(associated),
		ForceSendFields: []string{"CiphertextCrc32c", "AdditionalAuthenticatedDataCrc32c"},
	}).Context(k.ctx).Do()
	if err != nil {
		return nil, fmt.Errorf("decrypt by KMS: %w", err)
	}
	out, err := base64.StdEncoding.DecodeString(res.Plaintext)
	if err != nil || sum(out) != res.PlaintextCrc32c {
		return nil, errCorrupt
	}
	return out, nil
}

// newKeyset is AES-256-GCM, one key.
func newKeyset() (*keyset.Handle, error) { return keyset.NewHandle(aead.AES256GCMKeyTemplate()) }
