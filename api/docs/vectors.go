package docs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
)

// Vectors are requests and callbacks with their signatures, for those who sign or verify without a client.
// The signatures are made by the code by which the service verifies and signs.
type Vectors struct {
	Version1  []Vector1        `json:"version1"`
	Version2  []Vector2        `json:"version2"`
	Callbacks []VectorCallback `json:"callbacks"`
}

// Vector1 is of version 1 of the signature.
type Vector1 struct {
	Secret    string `json:"secret"`
	Date      string `json:"date"`
	Signature string `json:"signature"`
}

// Vector2 is of version 2.
type Vector2 struct {
	Key          string `json:"key"`
	Secret       string `json:"secret"`
	Date         string `json:"date"`
	Nonce        string `json:"nonce"`
	Method       string `json:"method"`
	URL          string `json:"url"`
	Body         string `json:"body"`
	BodyHash     string `json:"contentSha256"`
	StringToSign string `json:"stringToSign"`
	Signature    string `json:"signature"`
}

// VectorCallback is a callback, signed by one secret, or by two while one replaces the other.
type VectorCallback struct {
	Secrets   []string `json:"secrets"`
	ID        string   `json:"id"`
	Timestamp string   `json:"timestamp"`
	Body      string   `json:"body"`
	Signature string   `json:"signature"`
}

const (
	vectorKey    = "key_example"
	vectorSecret = "test-secret-0123456789abcdef"
	vectorDate   = "2026-01-02T03:04:05.678Z"
	vectorNonce  = "0123456789abcdef0123456789abcdef"
	vectorTime   = 1767323045 // vectorDate in seconds
)

// callbackSecrets are base64 of 32 bytes each, "0123456789abcdef0123456789abcdef" and its reverse.
var callbackSecrets = [2]string{"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="}

// MakeVectors signs them.
func MakeVectors() (Vectors, error) {
	var v Vectors
	for _, date := range []string{vectorDate, "2026-01-02T05:04:05+02:00"} {
		v.Version1 = append(v.Version1, Vector1{vectorSecret, date, apikey.Sign(vectorSecret, date)})
	}
	for _, r := range []struct{ method, url, body string }{
		{"GET", "https://exports.example.com/vip-users/export?workspaceId=ws_demo&mediumId=ch_demo&hasBirthday=true", ""},
		{"POST", "https://Exports.example.com:8443/exports/abcdefghijklmnopqrstuvwxyz/cancel", `{"reason":"not needed"}`},
		{"GET", "https://exports.example.com/vip-messages?to=2026-06-30&from=2026-06-01&label=a%20b%2Fc&mediumId=ch_demo&workspaceId=ws_demo", ""},
		{"GET", "https://exports.example.com/limits", ""},
	} {
		signed, err := vector2(r.method, r.url, r.body)
		if err != nil {
			return v, err
		}
		v.Version2 = append(v.Version2, signed)
	}
	for _, c := range []struct {
		secrets  []string
		id, body string
	}{
		{callbackSecrets[:1], "msg_abcdefghijklmnopqrstuvwxyz_succeeded", `{"type":"export.succeeded","timestamp":"2026-01-02T03:04:05Z","data":{"jobId":"abcdefghijklmnopqrstuvwxyz","kind":"vip-users","state":"succeeded","totalCount":3,"csvUrl":"https://files.example.com/é.csv?a=1&b=2","csvUrlExpiresAt":"2026-01-02T04:04:05Z","error":null,"params":{}}}`},
		{callbackSecrets[:], "msg_abcdefghijklmnopqrstuvwxyz_canceled", `{"type":"export.canceled","timestamp":"2026-01-02T03:04:05Z","data":{"jobId":"abcdefghijklmnopqrstuvwxyz","kind":"vip-users","state":"canceled","totalCount":null,"csvUrl":null,"csvUrlExpiresAt":null,"error":null,"params":{}}}`},
	} {
		signed, err := vectorCallback(c.secrets, c.id, c.body)
		if err != nil {
			return v, err
		}
		v.Callbacks = append(v.Callbacks, signed)
	}
	return v, nil
}

func vector2(method, address, body string) (Vector2, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Vector2{}, fmt.Errorf("parse a vector's URL: %w", err)
	}
	r := apikey.Request{Method: method, Host: u.Host, Path: u.EscapedPath(), Query: u.RawQuery, Body: []byte(body)}
	sum := sha256.Sum256(r.Body)
	return Vector2{
		Key: vectorKey, Secret: vectorSecret, Date: vectorDate, Nonce: vectorNonce, Method: method, URL: address, Body: body, BodyHash: hex.EncodeToString(sum[:]),
		StringToSign: r.StringToSign(vectorKey, vectorDate, vectorNonce), Signature: apikey.SignV2(vectorSecret, r, vectorKey, vectorDate, vectorNonce),
	}, nil
}

func vectorCallback(texts []string, id, body string) (VectorCallback, error) {
	var secrets []webhook.Secret
	for _, s := range texts {
		secret, err := webhook.ParseSecret(s)
		if err != nil {
			return VectorCallback{}, fmt.Errorf("read a vector's secret: %w", err)
		}
		secrets = append(secrets, secret)
	}
	signature, err := webhook.Sign(id, time.Unix(vectorTime, 0), []byte(body), secrets...)
	if err != nil {
		return VectorCallback{}, fmt.Errorf("sign a vector: %w", err)
	}
	return VectorCallback{texts, id, strconv.Itoa(vectorTime), body, signature}, nil
}
