package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
)

// encodePasses is how often a sample goes over its rows, so that it takes long enough for the clock.
const encodePasses = 20

// encodeLines is line b: rows that are in memory already, to CSV in memory. To encode alone is to write
// values that are found: ours lie in the document's bytes, those of encoding/csv are Go's.
func (s *suite) encodeLines(ctx context.Context) ([]line, error) {
	rows := s.sizes.encode
	docs, values, cells, err := encodeRows(rows)
	if err != nil {
		return nil, err
	}
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{FormulaGuard: true})
	var file []byte
	var ends []int
	for _, doc := range docs {
		if file, err = e.AppendRow(file, doc); err != nil {
			return nil, err
		}
		ends = append(ends, len(file))
	}
	dst := make([]byte, 0, len(file))
	var out bytes.Buffer
	out.Grow(len(file))
	w := csv.NewWriter(&out)
	w.UseCRLF = true
	pass := func(row func(i int) error) func(context.Context) error {
		return func(context.Context) error {
			for range encodePasses {
				dst = dst[:0]
				out.Reset()
				for i := range rows {
					if err := row(i); err != nil {
						return err
					}
				}
				w.Flush()
			}
			return nil
		}
	}
	split := make([]csvrow.Row, rows)
	for i, doc := range docs {
		if err := e.Split(&split[i], doc); err != nil {
			return nil, err
		}
	}
	got, err := s.interleave(ctx, "encode", s.sizes.rounds,
		way{"cells", pass(func(i int) (err error) { dst, err = e.AppendCells(dst, &split[i]); return err })},
		way{"ours", pass(func(i int) (err error) { dst, err = e.AppendRow(dst, docs[i]); return err })},
		way{"values", pass(func(i int) error { return w.Write(careful(values[i].cells())) })},
		way{"documents", pass(func(i int) error {
			m, err := decode(docs[i])
			if err != nil {
				return err
			}
			return w.Write(careful(m.cells()))
		})},
		way{"strings", pass(func(i int) error { return w.Write(cells[i]) })},
		way{"copy", pass(func(i int) error {
			from := 0
			if i > 0 {
				from = ends[i-1]
			}
			dst = append(dst, file[from:ends[i]]...)
			return nil
		})},
	)
	if err != nil {
		return nil, err
	}
	out.Reset()
	if err := errors.Join(w.WriteAll(cells), w.Error()); err != nil {
		return nil, err
	}
	if !bytes.Equal(out.Bytes(), file) {
		return nil, errors.New("encoding/csv and package csvrow write different files")
	}
	alone, ours, plain, decoded, ready, limit := got[0].byCPU(), got[1].byCPU(), got[2].byCPU(), got[3].byCPU(), got[4].byCPU(), got[5].byCPU()
	raw := func(s samples) string {
		return fmt.Sprintf("%.0f ns/row, %s MB/s", float64(s.median().Nanoseconds())/float64(rows*encodePasses), number(s.rate(len(file)*encodePasses)/1e6))
	}
	perRow := ours.allocsPer(rows * encodePasses)
	return []line{
		{what: "encode values / encoding/csv from decoded values, same rules", ours: raw(alone), against: raw(plain), value: alone.faster(plain), format: "%.2f×", target: atLeast(4)},
		{what: "find the values in wire bytes and encode / encoding/csv from decoded values", ours: raw(ours), against: raw(plain), value: ours.faster(plain), format: "%.2f×"},
		{what: "find and encode / generated types and encoding/csv from the wire bytes", ours: raw(ours), against: raw(decoded), value: ours.faster(decoded), format: "%.2f×"},
		{what: "encode values / encoding/csv from finished strings", ours: raw(alone), against: raw(ready), value: alone.faster(ready), format: "%.2f×"},
		{what: "encode values / copying the finished rows", ours: raw(alone), against: raw(limit), value: alone.faster(limit), format: "%.2f×"},
		{what: "allocations per row of the encoder", ours: fmt.Sprintf("%.4f", perRow), against: fmt.Sprintf("%.1f", plain.allocsPer(rows*encodePasses)), value: perRow, format: "%.3f", target: atMost(0.001)},
	}, nil
}

// careful makes cells what package csvrow makes of them, with the standard library: no NUL, valid UTF-8, no
// formulas. (The lists of these rows have nothing to escape.)
func careful(cells []string) []string {
	for i, c := range cells {
		if strings.IndexByte(c, 0) >= 0 {
			c = strings.ReplaceAll(c, "\x00", "\u2400")
		}
		c = strings.ToValidUTF8(c, "\ufffd")
		if begin := strings.TrimLeft(c, " "); begin != "" && strings.IndexByte("=+-@\t\r", begin[0]) >= 0 {
			c = "'" + c
		}
		cells[i] = c
	}
	return cells
}

// decode reads a document as the generated types do, without the official client's reflection.
func decode(b []byte) (message, error) {
	var doc firestorepb.Document
	if err := proto.Unmarshal(b, &doc); err != nil {
		return message{}, fmt.Errorf("decode row: %w", err)
	}
	return messageOf(&doc), nil
}

func messageOf(doc *firestorepb.Document) message {
	f := doc.GetFields()
	m := message{
		ID: path.Base(doc.GetName()), Timestamp: f["timestamp"].GetTimestampValue().AsTime(), PlayerID: f["playerId"].GetStringValue(),
		DisplayName: f["displayName"].GetStringValue(), Kind: f["kind"].GetStringValue(), Source: f["source"].GetStringValue(), Text: f["text"].GetStringValue(),
	}
	for _, l := range f["labels"].GetArrayValue().GetValues() {
		m.Labels = append(m.Labels, l.GetStringValue())
	}
	return m
}

// encodeRows are the same rows as wire bytes, as decoded values and as finished cells.
func encodeRows(rows int) (docs [][]byte, values []message, cells [][]string, err error) {
	for i := range rows {
		doc := document(replayDatabase, i)
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(doc)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("prepare row: %w", err)
		}
		m := messageOf(doc)
		docs, values, cells = append(docs, b), append(values, m), append(cells, m.cells())
	}
	return docs, values, cells, nil
}
