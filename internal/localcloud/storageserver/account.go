package storageserver

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// accountKeys reads key files of service accounts, as Google's console hands them out, and returns the keys
// that verify what each account has signed. An account may have several.
func accountKeys(files [][]byte) (map[string][]*rsa.PublicKey, error) {
	keys := map[string][]*rsa.PublicKey{}
	for i, raw := range files {
		var file struct {
			Email string `json:"client_email"`
			Key   string `json:"private_key"`
		}
		if err := json.Unmarshal(raw, &file); err != nil || file.Email == "" {
			return nil, fmt.Errorf("service account %d: the file is no key file: it has no client_email", i+1)
		}
		key, err := parseKey([]byte(file.Key))
		if err != nil {
			return nil, fmt.Errorf("service account %s: its private_key %w", file.Email, err)
		}
		keys[file.Email] = append(keys[file.Email], &key.PublicKey)
	}
	return keys, nil
}

// parseKey reads an RSA key in PEM. Its errors go on from a name of where the key is, and say nothing of what
// is in it.
func parseKey(raw []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("is %T, and not an RSA key", parsed)
	}
	return key, nil
}
