package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/storage"

	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/objectstore/crc32c"
)

const (
	// longText makes a file of 1 GiB from few messages, so that loading them takes seconds.
	longText = 8 << 10
	// longWrites keeps a commit of them under gRPC's 4 MiB.
	longWrites = 200
	// devMiB is what `exportd-dev run` may have, all of it in one process.
	devMiB = 300
	// devUpload is what the embedded Storage should take, in MB/s.
	devUpload = 400
)

// dev is a running `exportd-dev run` with a demo of next to no data.
type dev struct {
	*process
	API         string `json:"apiUrl"`
	StorageHost string `json:"storageEmulatorHost"`
	Firestore   string `json:"firestoreEmulatorHost"`
	demo.Summary
}

func startDev(ctx context.Context, binary, folder string) (*dev, error) {
	ready := make(chan struct{}, 1)
	p, err := start(context.WithoutCancel(ctx), nil, func(line string) {
		if strings.HasPrefix(line, "exportd is ready at ") {
			ready <- struct{}{}
		}
	}, devProgram(binary), "run", "--data-dir", folder, "--addr", "127.0.0.1:0", "--demo-users", "10", "--demo-messages", "10")
	if err != nil {
		return nil, err
	}
	d := &dev{process: p}
	select {
	case <-ready:
		var raw []byte
		if raw, err = os.ReadFile(filepath.Join(folder, "demo.json")); err == nil {
			err = json.Unmarshal(raw, d)
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(openWithin):
		err = fmt.Errorf("exportd-dev is not ready:\n%s", p.said())
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return d, nil
}

// config is what the process runs with, as far as its clients must know.
func (d *dev) config() (config.Config, error) {
	hosts := map[string]string{"FIRESTORE_EMULATOR_HOST": d.Firestore, "STORAGE_EMULATOR_HOST": d.StorageHost}
	return config.Load(func(name string) string { return hosts[name] }, nil)
}

// devLines is line h: a large file, from its rows to the reader's disk, by the one process that a developer
// runs.
func (s *suite) devLines(ctx context.Context) (_ []line, err error) {
	binary, err := s.exportd(ctx)
	if err != nil {
		return nil, err
	}
	temp, err := s.folder()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(temp, "dev")
	rows := max(1, (s.sizes.dev+longText-1)/longText)
	query, err := loadDev(ctx, binary, folder, rows)
	if err != nil {
		return nil, err
	}
	// A new process: the memory that loading took is not that of the export.
	d, err := startDev(ctx, binary, folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	c := newCaller(d.API, d.APIKey, d.Secret, 1)
	defer c.close()
	j, err := c.export(ctx, query)
	if err != nil {
		return nil, err
	}
	if j.Rows != int64(rows) || j.Size < int64(s.sizes.dev) {
		return nil, fmt.Errorf("job %s has %d rows and %d bytes, want %d and at least %d", j.ID, j.Rows, j.Size, rows, s.sizes.dev)
	}
	took := j.FinishedAt.Sub(j.CreatedAt)
	download, err := fetchSigned(ctx, j)
	if err != nil {
		return nil, err
	}
	peak, err := d.peak()
	if err != nil {
		return nil, err
	}
	size := float64(j.Size)
	lines := []line{{
		what: fmt.Sprintf("peak RSS of exportd-dev, export of %s messages, %s MB, and its download by signed URL", number(rows), number(size/1e6)),
		ours: fmt.Sprintf("%.1f s, %.0f MB/s", took.Seconds(), size/1e6/took.Seconds()), against: fmt.Sprintf("download %.0f MB/s", size/1e6/download.Seconds()),
		value: float64(peak) / (1 << 20), format: "%.0f MiB", target: atMost(devMiB),
	}}
	upload, err := s.uploadLine(ctx, d, temp)
	return append(lines, upload), err
}

// loadDev fills a data folder with so many long messages and returns the query that selects them.
func loadDev(ctx context.Context, binary, folder string, rows int) (query url.Values, err error) {
	d, err := startDev(ctx, binary, folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	cfg, err := d.config()
	if err != nil {
		return nil, err
	}
	from, err := time.Parse(time.DateOnly, d.From)
	if err != nil {
		return nil, fmt.Errorf("demo.json: %w", err)
	}
	from = from.AddDate(-1, 0, 0) // away from the demo's own messages
	database := "projects/" + cfg.ProjectID + "/databases/" + cfg.DatabaseID
	query = url.Values{"workspaceId": {d.WorkspaceID}, "mediumId": {d.MediumID}, "from": {from.Format(time.DateOnly)}, "to": {from.Format(time.DateOnly)}}
	text := longTexts()
	return query, commit(ctx, d.Firestore, database, rows, longWrites, func(i int) *firestorepb.Document {
		doc := document(database, i)
		doc.Fields["workspaceId"], doc.Fields["mediumId"] = str(d.WorkspaceID), str(d.MediumID)
		doc.Fields["timestamp"] = at(from.Add(time.Duration(i) * time.Millisecond))
		doc.Fields["text"] = str(text[i%len(text)])
		return doc
	})
}

// longTexts are what people write, over and over.
func longTexts() (long [len(texts)]string) {
	for i := range long {
		var b strings.Builder
		for k := i; b.Len() < longText; k++ {
			b.WriteString(texts[k%len(texts)])
			b.WriteByte(' ')
		}
		long[i] = b.String()
	}
	return long
}

// fetchSigned downloads a job's file by its signed URL, checks it, and returns how long that took. A URL with
// another signature must be refused.
func fetchSigned(ctx context.Context, j job) (time.Duration, error) {
	begun := time.Now()
	sum := crc32.New(crc32c.Table)
	status, size, err := fetch(ctx, j.CSVURL, sum)
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	got := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	if status != http.StatusOK || size != j.Size || got != j.CRC32C {
		return 0, fmt.Errorf("download: status %d, %d bytes with crc32c %s, want %d with %s", status, size, got, j.Size, j.CRC32C)
	}
	other, err := url.Parse(j.CSVURL)
	if err != nil {
		return 0, err
	}
	q := other.Query()
	q.Set("X-Goog-Expires", "604800") // is signed like the rest
	other.RawQuery = q.Encode()
	status, _, err = fetch(ctx, other.String(), io.Discard)
	if err == nil && status != http.StatusForbidden {
		err = fmt.Errorf("download with a changed URL: status %d, want %d", status, http.StatusForbidden)
	}
	return took, err
}

func fetch(ctx context.Context, link string, to io.Writer) (status int, size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, errors.New("download: no answer") // the error would show the signed URL
	}
	defer resp.Body.Close()
	size, err = io.CopyBuffer(to, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
	return resp.StatusCode, size, err
}

// uploadLine compares an upload by the official client with writing the same bytes to a file with their
// checksum, which is the least that any storage has to do.
func (s *suite) uploadLine(ctx context.Context, d *dev, temp string) (line, error) {
	client, err := storage.NewClient(ctx, localcloud.StorageOptions(d.StorageHost)...)
	if err != nil {
		return line{}, fmt.Errorf("open Cloud Storage: %w", err)
	}
	defer client.Close()
	cfg, err := d.config()
	if err != nil {
		return line{}, err
	}
	object := client.Bucket(cfg.Bucket).Object("bench/upload")
	block := make([]byte, min(s.sizes.dev, 8<<20))
	_, _ = rand.Read(block) // never fails
	n := s.sizes.dev / len(block)
	got, err := s.interleave(ctx, "upload", s.sizes.devRounds,
		way{"ours", func(ctx context.Context) error {
			w := object.NewWriter(ctx) // chunks of 16 MiB, the client's default
			for range n {
				if _, err := w.Write(block); err != nil {
					return errors.Join(err, w.Close())
				}
			}
			return w.Close()
		}},
		way{"file", func(context.Context) error { return writeFile(filepath.Join(temp, "upload"), block, n) }},
	)
	if err != nil {
		return line{}, err
	}
	ours, file := got[0], got[1]
	rate := func(s samples) float64 { return s.rate(n*len(block)) / 1e6 }
	return line{
		what: fmt.Sprintf("upload of %s MB to exportd-dev / a file with crc32c and fsync: %.2f×", number(float64(n*len(block))/1e6), ours.faster(file)),
		ours: fmt.Sprintf("%.0f MB/s", rate(ours)), against: fmt.Sprintf("%.0f MB/s", rate(file)),
		value: rate(ours), format: "%.0f MB/s", target: atLeast(devUpload),
	}, nil
}

// writeFile writes a block n times to a new file, which is removed, and sums it up.
func writeFile(path string, block []byte, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	var sum uint32
	for range n {
		if _, err := f.Write(block); err != nil {
			return err
		}
		sum = crc32c.Update(sum, block)
	}
	return f.Sync()
}
