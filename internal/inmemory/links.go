package inmemory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// SignedURLHost is that of the links of an Objects.
const SignedURLHost = "objects.invalid"

func newLinkKey() []byte { return []byte(rand.Text()) }

// SignedURL makes a URL that GETs an object.
func (s *Objects) SignedURL(ctx context.Context, name string, ttl time.Duration, filename string) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	if ttl < time.Second || ttl > 7*24*time.Hour {
		return "", fmt.Errorf("sign URL of %s: a life of %s is not between 1s and 7 days", name, ttl)
	}
	link := url.URL{Scheme: "https", Host: SignedURLHost, Path: "/" + name}
	q := url.Values{"expires": {strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)}, "filename": {filename}}
	q.Set("signature", s.sign(link.Path, q))
	link.RawQuery = q.Encode()
	return link.String(), nil
}

func (s *Objects) sign(path string, q url.Values) string {
	mac := hmac.New(sha256.New, s.key)
	_, _ = fmt.Fprintf(mac, "%q %q %q", path, q.Get("expires"), q.Get("filename"))
	return hex.EncodeToString(mac.Sum(nil))
}

// ServeHTTP answers whoever follows a link.
func (s *Objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil || !hmac.Equal([]byte(q.Get("signature")), []byte(s.sign(r.URL.Path, q))) || time.Now().Unix() > expires {
		http.Error(w, "the link is not, or no longer, valid", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	o, ok := s.objects[r.URL.Path[1:]]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	how := o.attrs.ContentDisposition
	if name := q.Get("filename"); name != "" {
		how = mime.FormatMediaType("attachment", map[string]string{"filename": name})
	}
	for name, value := range map[string]string{"Content-Type": o.attrs.ContentType, "Content-Disposition": how, "Cache-Control": o.attrs.CacheControl} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	_, _ = w.Write(o.data) // the caller's end may have gone away
}
