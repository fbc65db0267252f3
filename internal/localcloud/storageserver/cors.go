package storageserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/api/storage/v1"
)

// Pages of other origins may do, by signed URLs, what a bucket's CORS configuration says; the JSON API is not
// for them at all (checkCaller). https://cloud.google.com/storage/docs/cross-origin

// corsMethods are those of the XML API.
var corsMethods = []string{"*", http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions}

func checkCORS(rules []*storage.BucketCors) error {
	for _, rule := range rules {
		if rule == nil || rule.MaxAgeSeconds < 0 {
			return badRequest("Invalid value for: cors needs rules whose maxAgeSeconds is not below 0.")
		}
		for _, m := range rule.Method {
			if !slices.Contains(corsMethods, m) {
				return badRequest("Invalid value for: %q is not a method of a cors rule.", m)
			}
		}
	}
	return nil
}

// corsRule is the first of the bucket's rules that allows the origin the method and the headers; nil for
// none, and for a bucket that is not there.
func (s *Server) corsRule(bucket, origin, method string, headers []string) (*storage.BucketCors, error) {
	var b storage.Bucket
	if ok, err := load(s.db, bucketKey(bucket), &b); err != nil || !ok {
		return nil, err
	}
	for _, rule := range b.Cors {
		lacks := func(name string) bool {
			return !slices.ContainsFunc(rule.ResponseHeader, func(h string) bool { return h == "*" || strings.EqualFold(h, name) })
		}
		if has(rule.Origin, origin) && has(rule.Method, method) && !slices.ContainsFunc(headers, lacks) {
			return rule, nil
		}
	}
	return nil, nil
}

func has(list []string, what string) bool {
	return slices.Contains(list, what) || slices.Contains(list, "*")
}

// preflight answers what a browser asks before a request. Without a rule the answer allows nothing.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request, bucket string) error {
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	if origin == "" || method == "" {
		return badRequest("OPTIONS is for preflights, which have Origin and Access-Control-Request-Method.")
	}
	wanted := strings.FieldsFunc(r.Header.Get("Access-Control-Request-Headers"), func(c rune) bool { return c == ',' || c == ' ' })
	rule, err := s.corsRule(bucket, origin, method, wanted)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Vary", "Origin")
	if rule != nil {
		h.Set("Access-Control-Allow-Origin", allowedOrigin(rule, origin))
		h.Set("Access-Control-Allow-Methods", strings.Join(rule.Method, ","))
		h.Set("Access-Control-Allow-Headers", strings.Join(rule.ResponseHeader, ","))
		h.Set("Access-Control-Max-Age", strconv.FormatInt(rule.MaxAgeSeconds, 10))
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// allowOrigin lets a page read the answer where a rule says so.
func (s *Server) allowOrigin(h http.Header, r *http.Request, bucket string) error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	h.Set("Vary", "Origin")
	rule, err := s.corsRule(bucket, origin, r.Method, nil)
	if err != nil || rule == nil {
		return err
	}
	h.Set("Access-Control-Allow-Origin", allowedOrigin(rule, origin))
	h.Set("Access-Control-Expose-Headers", strings.Join(rule.ResponseHeader, ","))
	return nil
}

func allowedOrigin(rule *storage.BucketCors, origin string) string {
	if slices.Contains(rule.Origin, "*") {
		return "*"
	}
	return origin
}
