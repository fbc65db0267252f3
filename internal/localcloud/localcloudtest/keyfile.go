package localcloudtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
)

// KeyFile makes a key of a service account, in PEM, and its file as Google hands it out.
func KeyFile(email string) (key, file []byte, err error) {
	made, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		return nil, nil, err
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	file, err = json.Marshal(map[string]string{"type": "service_account", "client_email": email, "private_key": string(key)})
	return key, file, err
}
