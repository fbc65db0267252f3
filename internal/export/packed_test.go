package export

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/jobs"
)

// TestPackedRows: what a sample of rows is packed to tells what all of them are, to 10 %.
func TestPackedRows(t *testing.T) {
	t.Parallel()
	f, err := formOf(&jobs.Job{Params: jobs.Params{jobs.ParamCompression: jobs.CompressionGzip}})
	if err != nil {
		t.Fatal(err)
	}
	enc, err := f.encoder(dataset.VIPMessages)
	if err != nil {
		t.Fatal(err)
	}
	header := enc.AppendHeader(nil)
	sample, whole, plain := &packedRows{packer: f.newPacker()}, f.newPacker(), int64(0)
	size := 0
	pack := func(b []byte, end bool) {
		out, err := whole.pack(b, end)
		if size += len(out); err != nil {
			t.Fatal(err)
		}
	}
	pack(header, false)
	for i := range 20_000 {
		doc := csvrowtest.Document(fmt.Sprintf("d/c/m%d", i), map[string]any{"playerId": fmt.Sprintf("player-%d", i*7919%100_000), "text": fmt.Sprintf("hello for the %x time", i*i*31)})
		row, err := enc.AppendRow(nil, doc)
		if err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if err := sample.add([]json.RawMessage{row}); err != nil {
				t.Fatal(err)
			}
		}
		plain += int64(len(row))
		pack(row, i == 19_999)
	}
	got, err := sample.bytes(header, plain)
	if off := math.Abs(float64(got)/float64(size) - 1); err != nil || off > 0.1 {
		t.Errorf("bytes() = %d, %v; the file has %d, it is off by %.2f", got, err, size, off)
	}
}
