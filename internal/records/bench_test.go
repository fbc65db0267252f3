package records

import (
	"encoding/csv"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/vip"
)

const benchRows = 50_000

// message is a row as a handler with the official client decodes it.
type message struct {
	Timestamp   time.Time `firestore:"timestamp"`
	PlayerID    string    `firestore:"playerId"`
	DisplayName string    `firestore:"displayName"`
	Kind        string    `firestore:"kind"`
	Source      string    `firestore:"source"`
	Text        string    `firestore:"text"`
	Labels      []string  `firestore:"labels"`
}

// BenchmarkScan compares ways to get messages out of a database:
//
//	wire      this package and csvrow: scan and encode
//	official  the official client, DataTo, encoding/csv
//	drop      receiving the bytes of one stream and dropping them: the limit
//
// from a server that costs next to nothing (replay), and from the embedded one, whose own work is in the
// figures. Both run in this process.
func BenchmarkScan(b *testing.B) {
	b.Run("replay", func(b *testing.B) {
		s := startReplay(b, benchRows)
		benchScan(b, s.reader(b), s.client(b), time.Time{})
	})
	b.Run("embedded", func(b *testing.B) {
		cloud := localcloudtest.Start(b)
		r, err := Open(b.Context(), Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore, Connections: 1})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		w := cloud.Firestore.BulkWriter(b.Context())
		for i := range benchRows {
			if _, err := w.Set(cloud.Firestore.Collection("VipMessages").Doc(replayID(i)), replayFields(i)); err != nil {
				b.Fatal(err)
			}
		}
		w.End()
		at, err := r.SnapshotTime(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		benchScan(b, r, cloud.Firestore, at)
	})
}

func benchScan(b *testing.B, r *Reader, client *firestore.Client, at time.Time) {
	q := replayQuery()
	run := func(name string, pass func() (rows int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			rows, cpu := 0, cpuTime(b)
			for b.Loop() {
				n := pass()
				if n != benchRows {
					b.Fatalf("%d rows, want %d", n, benchRows)
				}
				rows += n
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(rows), "cpu-ns/row")
		})
	}
	run("wire", func() (rows int) {
		e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{FormulaGuard: true})
		buf := make([]byte, 0, 1<<20)
		err := r.Scan(b.Context(), q, vip.Range{}, at, Options{}, func(doc []byte) (err error) {
			if rows++; len(buf) > 1<<20-1<<16 {
				buf = buf[:0]
			}
			buf, err = e.AppendRow(buf, doc)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		return rows
	})
	run("official", func() int { return officialScan(b, client, io.Discard) })
	run("drop", func() int { return dropAll(b, r, q) })
}

// dropAll receives the rows of a query on one stream and drops their bytes.
func dropAll(tb testing.TB, r *Reader, q vip.Query) (rows int) {
	sq, err := r.structured(q, vip.Range{})
	if err != nil {
		tb.Fatal(err)
	}
	stream, err := r.runQuery(tb.Context(), r.runRequest(sq, time.Time{}))
	if err != nil {
		tb.Fatal(err)
	}
	var f frame
	for {
		if err := stream.RecvMsg(&f); err == io.EOF {
			return rows
		} else if err != nil {
			tb.Fatal(err)
		}
		f.buf.Free()
		rows++
	}
}

func officialScan(b *testing.B, client *firestore.Client, w io.Writer) (rows int) {
	out := csv.NewWriter(w)
	it := client.Collection("VipMessages").Where("workspaceId", "==", "ws-4f0c2a9be1").Where("mediumId", "==", "ch-77d01c").
		Where("timestamp", ">=", replayStart).Where("timestamp", "<", replayStart.AddDate(0, 0, 31)).
		OrderBy("timestamp", firestore.Desc).OrderBy(firestore.DocumentID, firestore.Asc).Documents(b.Context())
	defer it.Stop()
	for {
		snapshot, err := it.Next()
		if err == iterator.Done {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		var m message
		if err := snapshot.DataTo(&m); err != nil {
			b.Fatal(err)
		}
		if err := out.Write([]string{snapshot.Ref.ID, m.Timestamp.Format("2006-01-02T15:04:05.000000Z"), m.PlayerID, m.DisplayName,
			m.Kind, m.Source, m.Text, strings.Join(m.Labels, ";")}); err != nil {
			b.Fatal(err)
		}
		rows++
	}
	out.Flush()
	return rows
}

// cpuTime is the processor time of this process, which other processes on the machine disturb less than the
// clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
