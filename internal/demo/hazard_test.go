package demo_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"
)

// hazardTexts reads the sources in the plainest way, to judge the package by something other than its own
// reader. It counts how often each text occurs.
func hazardTexts(t *testing.T) map[string]int {
	t.Helper()
	var hazards []struct {
		Text *string
		B64  *string
	}
	unpack(t, "data/csv-hazards.json.gz", &hazards)
	want := map[string]int{}
	bytesOnly := 0
	for _, h := range hazards {
		if h.Text == nil {
			bytesOnly++
			continue
		}
		want[*h.Text]++
	}
	if len(hazards) != 742 || bytesOnly != 35 {
		t.Fatalf("csv-hazards.json has %d entries, %d of them bytes; want 742, 35", len(hazards), bytesOnly)
	}
	var naughty []string
	unpack(t, "data/blns.json.gz", &naughty)
	for _, text := range naughty {
		want[text]++
	}
	return want
}

func unpack(t *testing.T, name string, into any) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(packed).Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
