package client

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"exportd/internal/backoff"
)

// ErrCorrupt is a file that arrived in another form than the service wrote it.
var ErrCorrupt = errors.New("downloaded file does not match its checksum")

// errChanged is a file whose beginning is of another one than its end would be: the job was run again, or the
// object written anew. From the start, all of it can be had.
var errChanged = fmt.Errorf("%w: it has changed since the download began", ErrCorrupt)

// ErrNoFile is a job that has no file: it has not succeeded, or the file has expired.
var ErrNoFile = errors.New("job has no file")

// stallAfter is how long a download may stand still before it is taken up anew.
const stallAfter = 30 * time.Second

// Download writes the file to w and checks it against the job's checksum; ErrCorrupt comes after the last
// byte. It goes on where it was when the connection breaks. It returns the bytes written.
func (r *Result) Download(ctx context.Context, w io.Writer) (int64, error) {
	return r.client.Download(ctx, r.Job, w, nil)
}

// Save downloads the file to path, as Client.Save does.
func (r *Result) Save(ctx context.Context, path string) error {
	return r.client.Save(ctx, r.Job, path, nil)
}

// Download is Result.Download for any succeeded job. onProgress, if not nil, is called as bytes arrive.
func (c *Client) Download(ctx context.Context, job *Job, w io.Writer, onProgress func(done, total int64)) (int64, error) {
	d, err := c.newDownload(job, w, onProgress)
	if err != nil {
		return 0, err
	}
	if err := d.run(ctx); err != nil {
		return d.done, &jobError{job.JobID, err}
	}
	return d.done, nil
}

// Save downloads a succeeded job's file to path. What has arrived is in PartPath until the file is complete
// and checked, and a later Save goes on there; path itself is only ever a whole file. A file that is there is
// replaced. Where the beginning turns out to be of another file, it begins once more, from the start.
func (c *Client) Save(ctx context.Context, job *Job, path string, onProgress func(done, total int64)) (err error) {
	part := PartPath(path, job.JobID)
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600) // personal data: for the caller alone
	if err != nil {
		return fmt.Errorf("save export: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := c.newDownload(job, f, onProgress)
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	// A part file that is not a beginning of this file shows in the checksum.
	if err = d.takeUp(f); err == nil {
		resumed := d.done > 0
		if err = d.run(ctx); errors.Is(err, errChanged) || errors.Is(err, ErrCorrupt) && resumed {
			if err = d.restart(f); err == nil {
				err = d.run(ctx)
			}
		}
	}
	if errors.Is(err, ErrCorrupt) {
		return errors.Join(&jobError{job.JobID, err}, os.Remove(part))
	}
	if err != nil {
		return &jobError{job.JobID, err}
	}
	if err := errors.Join(f.Sync(), os.Rename(part, path)); err != nil {
		return fmt.Errorf("save export: %w", err)
	}
	return nil
}

// PartPath is where Save keeps an incomplete file.
func PartPath(path, jobID string) string { return path + "." + jobID + ".part" }

// download is one file on its way. The sum and done cover what w has.
type download struct {
	client   *Client
	jobID    string
	w        io.Writer
	progress func(done, total int64)
	link     string
	total    int64
	want     uint32
	sum      hash.Hash32
	done     int64
	// generation is of the object that the bytes so far are of, "" if nobody said.
	generation string
}

func (c *Client) newDownload(job *Job, w io.Writer, progress func(done, total int64)) (*download, error) {
	d := &download{client: c, jobID: job.JobID, w: w, progress: progress, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	if err := d.take(job); err != nil {
		return nil, &jobError{job.JobID, err}
	}
	return d, nil
}

// take notes what the job says of its file; the link is "" if it says none.
func (d *download) take(job *Job) error {
	if job.State != StateSucceeded || job.Crc32C == nil || job.SizeBytes == nil {
		return fmt.Errorf("%w: it is %s", ErrNoFile, job.State)
	}
	sum, err := base64.StdEncoding.DecodeString(*job.Crc32C)
	if err != nil || len(sum) != crc32.Size {
		return fmt.Errorf("checksum %q is not a CRC-32C", *job.Crc32C)
	}
	d.want, d.total, d.link = binary.BigEndian.Uint32(sum), *job.SizeBytes, ""
	if job.CSVURL != nil {
		d.link = *job.CSVURL
	}
	return nil
}

// takeUp counts and sums what f has of the file already.
func (d *download) takeUp(f *os.File) error {
	n, err := io.Copy(d.sum, io.LimitReader(f, d.total))
	if err != nil {
		return fmt.Errorf("read part file: %w", err)
	}
	d.done = n
	return f.Truncate(n)
}

func (d *download) restart(f *os.File) error {
	d.sum.Reset()
	d.done, d.generation, d.link = 0, "", ""
	_, err := f.Seek(0, io.SeekStart)
	return errors.Join(err, f.Truncate(0))
}

// run gets what is missing, in as many pieces as it takes. Tries that brought something do not count against
// the bound.
func (d *download) run(ctx context.Context) error {
	pauses := backoff.Doubling(firstPause, lastPause)
	for n := 0; d.done < d.total; n++ {
		if err := d.findLink(ctx); err != nil {
			return err
		}
		before := d.done
		err := d.piece(ctx)
		var local *writeError
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case errors.As(err, &local), errors.Is(err, ErrCorrupt):
			return err
		}
		d.link = "" // it may be too old, or lead to where nobody is any more
		if d.done > before {
			n = 0
			pauses.Reset()
		}
		switch {
		case d.done >= d.total:
		case n+1 >= d.client.tries:
			return fmt.Errorf("download: %w", err)
		default:
			if err := pauses.Wait(ctx); err != nil {
				return err
			}
		}
	}
	if d.done != d.total || d.sum.Sum32() != d.want {
		return ErrCorrupt
	}
	return nil
}

// writeError is a fault of the caller's writer: trying again does not help.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// Write passes bytes on to the caller's writer and takes note of them.
func (d *download) Write(p []byte) (int, error) {
	if int64(len(p)) > d.total-d.done {
		return 0, ErrCorrupt // longer than it is
	}
	n, err := d.w.Write(p)
	d.sum.Write(p[:n])
	d.done += int64(n)
	if d.progress != nil {
		d.progress(d.done, d.total)
	}
	if err != nil {
		return n, &writeError{err}
	}
	return n, nil
}

// findLink asks for a fresh link where there is none.
func (d *download) findLink(ctx context.Context) error {
	if d.link != "" {
		return nil
	}
	job, err := d.client.GetJob(ctx, d.jobID)
	if err != nil {
		return err
	}
	want, total := d.want, d.total
	if err := d.take(job); err != nil {
		return err
	}
	if d.link == "" {
		return fmt.Errorf("%w: it is %s", ErrNoFile, job.State)
	}
	if (d.want != want || d.total != total) && d.done > 0 {
		return errChanged
	}
	return nil
}

// piece gets the file from done on, as far as the connection lasts.
func (d *download) piece(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.link, nil)
	if err != nil {
		return errors.New("link to the file is not a URL") // with it the error would tell it
	}
	r.Header.Set("Accept-Encoding", "identity") // the checksum is of the bytes as they are
	if d.done > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.done))
	}
	response, err := d.client.files.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	body := io.Reader(&stallReader{response.Body, time.AfterFunc(stallAfter, cancel)})
	var skip int64
	switch response.StatusCode {
	case http.StatusOK: // all of it: Range was ignored or not asked for
		skip = d.done
	case http.StatusPartialContent:
		if !strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.done)) {
			return errors.New("download: the answer begins elsewhere than asked")
		}
	default:
		return fmt.Errorf("download: the link is answered with %d", response.StatusCode)
	}
	if err := d.same(response.Header); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return withoutURL(err)
	}
	if _, err := io.Copy(d, body); err != nil {
		return withoutURL(err)
	}
	if d.done < d.total {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// same holds a piece to the object that those before it were of: Cloud Storage numbers what is written under
// one name.
func (d *download) same(h http.Header) error {
	generation := h.Get("X-Goog-Generation")
	if generation == "" {
		generation = h.Get("ETag")
	}
	if d.done > 0 && d.generation != "" && generation != "" && generation != d.generation {
		return errChanged
	}
	d.generation = generation
	return nil
}

// withoutURL takes the signed link out of an error: whoever reads it could get the file.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// stallReader ends a body that stands still.
type stallReader struct {
	io.Reader
	timer *time.Timer
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.timer.Stop()
	if err == nil {
		s.timer.Reset(stallAfter)
	}
	return n, err
}
