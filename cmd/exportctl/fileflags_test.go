package main

import (
	"maps"
	"testing"

	"exportd/api/client"
)

// TestFileOf: what a job's file is has no guard of CSV where it is none.
func TestFileOf(t *testing.T) {
	t.Parallel()
	parquet, semicolon := client.FileFormatParquet, client.DelimiterSemicolon
	for _, test := range []struct {
		params client.Params
		want   map[string]string
	}{
		{client.Params{FormulaGuard: true}, map[string]string{}},
		{client.Params{Delimiter: &semicolon}, map[string]string{"formula guard": "off", "delimiter": "semicolon"}},
		{client.Params{Format: &parquet}, map[string]string{"format": "parquet"}},
	} {
		if got := maps.Collect(fileOf(test.params)); !maps.Equal(got, test.want) {
			t.Errorf("fileOf(%+v) = %v, want %v", test.params, got, test.want)
		}
	}
}
