package vip_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/vip"
)

func TestAppendLabels(t *testing.T) {
	t.Parallel()
	for _, n := range []int{31, 32, 33, 10_000} { // each once, in order, however many
		var want []string
		var labels []any
		for i := range n {
			want = append(want, fmt.Sprint(i))
			labels = append(labels, fmt.Sprint(i), fmt.Sprint(i/2), fmt.Sprint(i))
		}
		got, err := vip.AppendLabels([]string{"0"}, csvrowtest.Document("d/c/i", map[string]any{"labels": labels}))
		if err != nil || !slices.Equal(got[1:], want) || got[0] != "0" {
			t.Errorf("AppendLabels() of %d labels = %d, %v", n, len(got)-1, err)
		}
	}
	for want, v := range map[string]any{"": nil, "a b": []any{"a", "b", "a", "", nil, int64(1), []byte("c")}, " ": "text"} {
		got, err := vip.AppendLabels(nil, csvrowtest.Document("d/c/i", map[string]any{"labels": v}))
		if err != nil || strings.Join(got, " ") != strings.TrimSpace(want) {
			t.Errorf("AppendLabels(%v) = %q, %v", v, got, err)
		}
	}
}
