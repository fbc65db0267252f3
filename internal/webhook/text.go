package webhook

import (
	"unicode"
	"unicode/utf8"
)

// plainText makes of a stranger's bytes a text that cannot act on a terminal, a log or the direction of other
// text: invalid UTF-8 and all control and format characters but tab and line feed become U+FFFD. The result
// has at most limit bytes and ends on a whole character.
func plainText(data []byte, limit int) string {
	out := make([]byte, 0, min(len(data), limit))
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && !utf8.FullRune(data) {
			break // cut in the middle of a character by the limit on reading
		}
		data = data[size:]
		if r == '\r' && len(data) > 0 && data[0] == '\n' {
			continue
		}
		if r != '\t' && r != '\n' && !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
			r = utf8.RuneError
		}
		if len(out)+utf8.RuneLen(r) > limit {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
