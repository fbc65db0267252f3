package storageserver

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"exportd/internal/localcloud/fields/fieldstest"
)

// requests are scenarios over HTTP: a method is a verb and a path, a request has query, headers, and body,
// which is JSON, or data.
type requests struct{ *Server }

func (requests) Places(c fieldstest.Call) (out []fieldstest.Place) {
	query, _ := c.Request["query"].(map[string]any)
	for name := range query {
		out = append(out, fieldstest.Place{Field: "parameter " + name, Path: []any{"query", name}})
	}
	kind, table := "bucket", bucketFields
	switch {
	case strings.HasSuffix(c.Method, "/compose"):
		kind, table = "compose", composeFields
	case strings.Contains(c.Method, "/o"):
		kind, table = "object", objectFields
	}
	var walk func(v any, name string, path []any)
	walk = func(v any, name string, path []any) {
		switch v := v.(type) {
		case map[string]any:
			if name != "" && !hasMembers(name, table) {
				return
			}
			for member, inner := range v {
				full, at := strings.TrimPrefix(name+"."+member, "."), append(slices.Clone(path), member)
				out = append(out, fieldstest.Place{Field: kind + " " + full, Path: at})
				walk(inner, full, at)
			}
		case []any:
			for i, e := range v {
				walk(e, name, append(slices.Clone(path), i))
			}
		}
	}
	walk(c.Request["body"], "", []any{"body"})
	return out
}

func (s requests) Do(tb testing.TB, c fieldstest.Call) any {
	tb.Helper()
	method, path, _ := strings.Cut(c.Method, " ")
	var q url.Values = map[string][]string{}
	query, _ := c.Request["query"].(map[string]any)
	for name, v := range query {
		text, _ := v.(string)
		q.Set(name, text)
	}
	data, _ := c.Request["data"].(string)
	if body, ok := c.Request["body"]; ok {
		raw, err := json.Marshal(body)
		if err != nil {
			tb.Fatal(err)
		}
		data = string(raw)
	}
	var headers []string
	given, _ := c.Request["headers"].(map[string]any)
	for name, v := range given {
		text, _ := v.(string)
		headers = append(headers, name, text)
	}
	w := do(tb, s.Server, method, path+"?"+q.Encode(), data, headers...)
	answer := map[string]any{"code": w.Code, "upload": w.Header().Get("X-Guploader-Uploadid")}
	var body any
	if json.Unmarshal(w.Body.Bytes(), &body) != nil {
		body = w.Body.String()
	}
	answer["body"] = body
	return answer
}

// TestHonouredFields: each field and parameter that is honoured is.
func TestHonouredFields(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true, Lax: true})
	var honouredFields []string
	for kind, table := range map[string]map[string]use{"bucket": bucketFields, "object": objectFields, "compose": composeFields, "parameter": parameters} {
		for name, u := range table {
			if u != refused && u != answer {
				honouredFields = append(honouredFields, kind+" "+name)
			}
		}
	}
	slices.Sort(honouredFields)
	const plain = "none: there is nothing that it could change: see fields.go"
	fieldstest.Prove(t, requests{s}, honouredFields, map[string]string{
		"parameter projection": plain, "parameter userProject": plain, "parameter returnPartialSuccess": plain, "parameter maxBytesRewrittenPerCall": plain,
		"parameter prettyPrint": plain, "parameter key": plain, "parameter oauth_token": plain, "parameter quotaUser": plain, "parameter userIp": plain,
		"compose destination.name": "none: the name is in the path",
	})
}
