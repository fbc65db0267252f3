package storageserver

import (
	"encoding/json"
	"strings"
)

// mask is the parameter "fields": the members of an answer that the caller wants, each with what it wants of
// it. A member without a mask of its own is wanted whole.
// https://cloud.google.com/storage/docs/json_api#partial-response
type mask map[string]mask

// maxMaskDepth bounds parentheses; no answer is as deep.
const maxMaskDepth = 10

// parseMask reads a,b/c,d(e,f). "*" is every member.
func parseMask(s string) (mask, error) {
	m, rest, err := readMask(s, 0)
	if err == nil && rest != "" {
		err = errMask
	}
	return m, err
}

var errMask = badRequest("Invalid field selection.")

func readMask(s string, depth int) (mask, string, error) {
	m := mask{}
	if depth > maxMaskDepth {
		return nil, "", errMask
	}
	for {
		at, end := m, strings.IndexAny(s, ",()/")
		for ; end > 0 && s[end] == '/'; end = strings.IndexAny(s, ",()/") {
			at = at.child(s[:end])
			s = s[end+1:]
		}
		if end < 0 {
			end = len(s)
		}
		name := s[:end]
		if s = s[end:]; name == "" {
			return nil, "", errMask
		}
		inner := at.child(name)
		if strings.HasPrefix(s, "(") {
			sub, rest, err := readMask(s[1:], depth+1)
			if err != nil {
				return nil, "", err
			}
			if !strings.HasPrefix(rest, ")") {
				return nil, "", errMask
			}
			for k, v := range sub {
				inner[k] = v
			}
			s = rest[1:]
		}
		if !strings.HasPrefix(s, ",") {
			return m, s, nil
		}
		s = s[1:]
	}
}

func (m mask) child(name string) mask {
	if m[name] == nil {
		m[name] = mask{}
	}
	return m[name]
}

// cut returns what the mask leaves of v.
func (m mask) cut(v any) any {
	if len(m) == 0 {
		return v
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = m.cut(v[i])
		}
	case map[string]any:
		for name, e := range v {
			inner, ok := m[name]
			if !ok {
				inner, ok = m["*"]
			}
			if !ok {
				delete(v, name)
				continue
			}
			v[name] = inner.cut(e)
		}
	}
	return v
}

// part is what the mask leaves of an answer.
func (m mask) part(body any) (any, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return m.cut(v), nil
}
