package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
)

// Verify compares a file at path with what the service wrote as the job's, part by part, and gives those that
// are not as they were: a Range of their bytes brings them again. It goes by their SHA-256, and by the
// CRC-32C of parts that have none. What follows the last part counts as of it.
func (c *Client) Verify(ctx context.Context, jobID, path string) (broken []FilePart, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("verify export: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	answer, err := c.GetManifestWithResponse(ctx, jobID)
	if err != nil {
		return nil, err
	}
	parts, file := answer.JSON200.Parts, &reader{ctx, f}
	for i, p := range parts {
		sum, other := partSum(p)
		n, err := io.Copy(sum, io.LimitReader(file, p.SizeBytes))
		if err == nil && i == len(parts)-1 {
			var more int64
			more, err = io.CopyN(io.Discard, file, 1)
			if n += more; err == io.EOF {
				err = nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("verify export: %w", err)
		}
		if n != p.SizeBytes || other(sum.Sum(nil)) {
			broken = append(broken, p)
		}
	}
	return broken, nil
}

// partSum gives what a part is summed by, and says whether a sum is another than that of the part.
func partSum(p FilePart) (sum hash.Hash, other func([]byte) bool) {
	if p.Sha256 != nil {
		return sha256.New(), func(got []byte) bool { return hex.EncodeToString(got) != *p.Sha256 }
	}
	return crc32.New(crc32.MakeTable(crc32.Castagnoli)), func(got []byte) bool { return base64.StdEncoding.EncodeToString(got) != p.Crc32C }
}

// reader ends with its context: a part may be gigabytes.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
