// Package client talks to exportd: it signs requests, tries again what may be tried again, and turns an
// export into one call that ends with the file.
//
// The methods that New's Client has from ClientWithResponses are generated from openapi.yaml, one per
// operation. Answers of 400 and above are an *Error from every method.
//
// The module's path has no dot, so go get refuses it. A program elsewhere uses a checkout of a release:
//
//	go mod edit -require=exportd@v0.0.0 -replace=exportd=../exportd
//	go mod tidy
package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

//go:generate go tool oapi-codegen -config oapi-codegen.yaml ../openapi.yaml

// Config is what a Client needs.
type Config struct {
	// BaseURL is where the API is, like https://exportd.example.com; required, as are the two below. Plain
	// http is refused for hosts other than this one, unless PlainHTTP is set.
	BaseURL string
	// Key is the id of an API key, Secret its secret.
	Key, Secret string

	PlainHTTP bool
	// SignatureVersion is 1 or 2; 1 if 0. Version 2 binds a signature to one request; a key may require it.
	SignatureVersion int
	// Transport carries requests and downloads; a copy of http.DefaultTransport with a time limit for the
	// beginning of an answer if nil.
	Transport http.RoundTripper
	// UserAgent is "exportd-client" if empty.
	UserAgent string
	// Attempts bounds how often one request is sent when the service cannot be reached or asks to come again;
	// 10 if 0, which lasts for about two minutes of an outage. 1 does not try again.
	Attempts int
	// Now is time.Now if nil.
	Now func() time.Time
}

// Client is safe for concurrent use.
type Client struct {
	*ClientWithResponses
	base  string
	api   *retrier     // signs
	files *http.Client // not signed: for links to files
	tries int
	now   func() time.Time
}

// New makes a Client; it sends nothing.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.User != nil || base.RawQuery != "":
		return nil, fmt.Errorf("client config: BaseURL %q is not an http or https URL without user and query, like https://exports.example.com", c.BaseURL)
	case base.Scheme == "http" && !c.PlainHTTP && !loopback(base.Hostname()):
		return nil, fmt.Errorf("client config: BaseURL %q is not https, so that others could read along: set PlainHTTP if that is all right", c.BaseURL)
	case c.Key == "" || c.Secret == "":
		return nil, errors.New("client config: Key and Secret are required")
	case c.SignatureVersion < 0 || c.SignatureVersion > 2:
		return nil, fmt.Errorf("client config: SignatureVersion %d is neither 1 nor 2", c.SignatureVersion)
	case c.Attempts < 0:
		return nil, errors.New("client config: Attempts is negative")
	}
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = answerWithin
		c.Transport = t
	}
	if c.UserAgent == "" {
		c.UserAgent = "exportd-client"
	}
	if c.Attempts == 0 {
		c.Attempts = 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	signed := &http.Client{
		Transport: &signer{key: c.Key, secret: c.Secret, userAgent: c.UserAgent, version: c.SignatureVersion, now: c.Now, next: c.Transport},
		// The one redirect there is leads to a file elsewhere, which must not see the headers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	at, doer := strings.TrimSuffix(c.BaseURL, "/"), &retrier{signed, c.Attempts}
	api, err := NewClientWithResponses(at, WithHTTPClient(doer))
	if err != nil {
		return nil, fmt.Errorf("client config: %w", err)
	}
	return &Client{ClientWithResponses: api, base: at, api: doer, files: &http.Client{Transport: c.Transport}, tries: c.Attempts, now: c.Now}, nil
}

// Unsigned gives the methods that are generated over a transport that says by itself who asks, as one within
// the service's own process does. Nothing is tried again; answers of 400 and above are an *Error, as from a
// Client.
func Unsigned(transport http.RoundTripper) (*ClientWithResponses, error) {
	plain := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return NewClientWithResponses("http://localhost", WithHTTPClient(&retrier{plain, 1}))
}

// CloseIdleConnections closes connections that are kept for the next request.
func (c *Client) CloseIdleConnections() { c.files.CloseIdleConnections() }

// answerWithin is how long the service may take to begin an answer: it holds requests for up to 25 s and ends
// them after 35.
const answerWithin = 45 * time.Second

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
