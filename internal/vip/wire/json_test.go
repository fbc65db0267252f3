package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"exportd/internal/vip/wire"
)

// FuzzJSONString compares with encoding/json.
func FuzzJSONString(f *testing.F) {
	for c := range 256 { // each byte in a word of eight, and behind one
		f.Add([]byte("abcdefg" + string([]byte{byte(c)}) + "hij"))
		f.Add([]byte("abcdefgh" + string([]byte{byte(c)})))
	}
	for _, s := range []string{"", "é", "日本語日本語\u2028 \u2029x", "👍👍👍👍", "\xe2\x80", "\xe2\x80\xa8\xe2", "\xed\xa0\x80", "<&>", "\ufffd", "a\"b\\c\x00\x1f\x7f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(string(s)); err != nil {
			t.Fatal(err)
		}
		if got := wire.AppendJSONString([]byte("x"), s); string(got) != "x"+string(bytes.TrimSuffix(want.Bytes(), []byte("\n"))) {
			t.Errorf("AppendJSONString(%q) = %s, encoding/json has %s", s, got, want.Bytes())
		}
	})
}
