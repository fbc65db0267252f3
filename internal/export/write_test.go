package export_test

import (
	"context"
	"errors"
	"hash/crc32"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/dataset"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/export"
	"exportd/internal/vip"
	"exportd/jobs"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, docs := range map[string][][]byte{
		"nothing":                       nil,
		"one row":                       users(t, 1, 10),
		"many buffers":                  users(t, 3000, 400),
		"rows larger than the buffer":   users(t, 3, 900_000),
		"as many rows as yield at once": users(t, 512, 8),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, &source{docs: docs}, export.Config{})
			j, yields := newJob(), 0
			var p export.Progress
			got, err := r.Write(t.Context(), export.Spec{
				Job: j, Object: j.ObjectPrefix() + "1/file.csv", Rows: int64(len(docs)), Header: true, Final: true,
				Yield: func(context.Context) { yields++ },
			}, &p)
			if err != nil {
				t.Fatal(err)
			}
			file := r.read(t, got.Object)
			if got.Rows != int64(len(docs)) || got.Size != int64(len(file)) || got.CRC32C != crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli)) {
				t.Errorf("Write() = %+v for a file of %d bytes", got, len(file))
			}
			if p.Rows.Load() != got.Rows || p.Bytes.Load() != got.Size {
				t.Errorf("progress = %d rows, %d bytes at the end; want %d, %d", p.Rows.Load(), p.Bytes.Load(), got.Rows, got.Size)
			}
			if rows, err := e2etest.ParseCSV(file); err != nil || len(rows) != len(docs)+1 {
				t.Errorf("the file has %d rows, %v; want a header and %d", len(rows), err, len(docs))
			}
			if yields != len(docs)/256 {
				t.Errorf("%d rows offered to stand back %d times", len(docs), yields)
			}
		})
	}
}

// TestWriteNeverShort: whatever goes wrong, there is no object that could pass for the rows.
func TestWriteNeverShort(t *testing.T) {
	t.Parallel()
	lost := errors.New("the stream broke")
	garbled := append(users(t, 2, 10), []byte{0xff})
	at := vip.Position{Key: vip.TimeKey(instant), ID: "u7"}
	sorted, err := proto.Marshal(&firestorepb.Document{
		Name:   "projects/p/databases/(default)/documents/VipUsers/u8",
		Fields: map[string]*firestorepb.Value{dataset.VIPUsers.Query("", nil).SortField: {ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(instant)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	damaged := append(sorted, append([]byte{2<<3 | 2, 16, 1<<3 | 2, 11}, "displayName\x12\x01\xff"...)...)
	for name, c := range map[string]struct {
		source source
		rows   int64
		from   string
		cfg    export.Config
		code   jobs.Code
		what   string
		err    error
	}{
		"a row too few":         {source: source{docs: users(t, 9, 10)}, rows: 10, code: jobs.CodeCountMismatch, what: "vip-users of org-1"},
		"a row too many":        {source: source{docs: users(t, 11, 10)}, rows: 10, code: jobs.CodeCountMismatch, what: "vip-users of org-1"},
		"a part of a row more":  {source: source{docs: users(t, 11, 10)}, rows: 10, from: at.String(), code: jobs.CodeCountMismatch, what: "vip-users of org-1 from 2026-03-04T12:34:56.789Z, document u7"},
		"a damaged document":    {source: source{docs: [][]byte{damaged}}, rows: 1, code: jobs.CodeInternal, what: "document u8 of VipUsers of org-1"},
		"a scan that breaks":    {source: source{docs: users(t, 5000, 200), broken: lost}, rows: 5000, err: lost},
		"garbage":               {source: source{docs: garbled}, rows: 3, code: jobs.CodeInternal, what: "a document of VipUsers of org-1"},
		"more bytes than asked": {source: source{docs: users(t, 5000, 200)}, rows: 5000, cfg: export.Config{MaxBytes: 600_000}, code: jobs.CodeTooManyBytes},
		"a damaged range":       {source: source{docs: users(t, 1, 10)}, rows: 1, from: "nonsense", code: jobs.CodeInvalidJob},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, j := newRig(t, &c.source, c.cfg), newJob()
			_, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.ObjectPrefix() + "1/part.csv", From: c.from, Rows: c.rows}, new(export.Progress))
			var f *jobs.Failure
			if errors.As(err, &f) && f.Code != c.code || f == nil && !errors.Is(err, c.err) || err == nil {
				t.Errorf("Write() = %v, want %s%v", err, c.code, c.err)
			}
			if f != nil && f.What != c.what {
				t.Errorf("it is about %q, want %q", f.What, c.what)
			}
			if left := r.names(t, j); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}
