package fault

import (
	"bytes"
	"net/http/httptest"
	"testing"
)

// FuzzControl takes any bytes for faults.
func FuzzControl(f *testing.F) {
	f.Add([]byte(`{"seed":1,"rules":{"Firestore/Commit":{"errorRate":0.5,"code":"ABORTED"},"*":{"delayMs":1}}}`))
	f.Add([]byte(`{"rules":{"/":{}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequestWithContext(t.Context(), "PUT", "/faults", bytes.NewReader(raw))
		req.Host = "127.0.0.1"
		w := httptest.NewRecorder()
		if in.Control(nil, nil).ServeHTTP(w, req); w.Code != 200 && w.Code != 400 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
