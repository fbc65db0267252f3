package storageserver

import (
	"regexp"
	"strings"
)

// maxGlob bounds a pattern; object names have 1,024 bytes.
const maxGlob = 1024

// compileGlob reads a matchGlob: * (no slash), ** (anything), ?, [..], [!..] and {a,b}.
// https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
func compileGlob(glob string) (*regexp.Regexp, error) {
	bad := badRequest("Invalid value for matchGlob.")
	if len(glob) > maxGlob {
		return nil, bad
	}
	var out strings.Builder
	out.WriteString(`^(?s:`)
	depth := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**"):
			// "**/" also stands for no folder at all.
			if i += 1; strings.HasPrefix(glob[i+1:], "/") && (i == 1 || glob[i-2] == '/') {
				out.WriteString(`(?:.*/)?`)
				i++
				continue
			}
			out.WriteString(`.*`)
		case c == '*':
			out.WriteString(`[^/]*`)
		case c == '?':
			out.WriteString(`[^/]`)
		case c == '[':
			end := strings.IndexByte(glob[i+1:], ']')
			if end < 1 {
				return nil, bad
			}
			class := glob[i+1 : i+1+end]
			not := strings.HasPrefix(class, "!") || strings.HasPrefix(class, "^")
			if not {
				class = class[1:]
			}
			out.WriteString(map[bool]string{false: "[", true: "[^/"}[not])
			out.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(class))
			out.WriteByte(']')
			i += end + 1
		case c == '{':
			depth++
			out.WriteString(`(?:`)
		case c == '}' && depth > 0:
			depth--
			out.WriteByte(')')
		case c == ',' && depth > 0:
			out.WriteByte('|')
		case c == '\\' && i+1 < len(glob):
			i++
			out.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			// Byte by byte, also of runes: what is no meta character stands for itself.
			if c < 0x80 {
				out.WriteString(regexp.QuoteMeta(string(rune(c))))
			} else {
				out.WriteByte(c)
			}
		}
	}
	out.WriteString(`)$`)
	re, err := regexp.Compile(out.String())
	if err != nil || depth != 0 {
		return nil, bad
	}
	return re, nil
}
