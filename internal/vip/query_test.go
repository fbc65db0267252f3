package vip_test

import (
	"strings"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/vip"
)

func TestAppendLabels(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{"": nil, "a b": []any{"a", "b", "a", "", nil, int64(1), []byte("c")}, " ": "text"} {
		got, err := vip.AppendLabels(nil, csvrowtest.Document("d/c/i", map[string]any{"labels": v}))
		if err != nil || strings.Join(got, " ") != strings.TrimSpace(want) {
			t.Errorf("AppendLabels(%v) = %q, %v", v, got, err)
		}
	}
}
