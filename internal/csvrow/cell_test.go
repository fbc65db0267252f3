package csvrow

import (
	"testing"
	"unicode/utf8"
)

// FuzzValid compares valid with the standard library.
func FuzzValid(f *testing.F) {
	for _, s := range []string{"", "a", "Добрый день, 日本語で", "\xc0\x80", "ab\xc1\xbfcdefghi", "\xed\xa0\x80\xed\xa0\x80xx", "\xe0\x9f\xbf\xe1\x80\x80xx",
		"дддд\xc3", "日本\xe6\x97", "\xf0\x9f\x98\x80\xf0\x9f\x98\x80", "\xe1\x80\x80\xed\x9f\xbfxxxxxxx", "ддд\xc1\x80дд"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if got, want := valid(s), utf8.Valid(s); got != want {
			t.Errorf("valid(%q) = %v, want %v", s, got, want)
		}
	})
}
