// Command pack compresses the published source files of the demo data into the folder that package demo
// embeds.
//
//	go run ./internal/demo/pack -from DIR -to internal/demo/data
//
// DIR holds the files named in sources, as data/README.md describes them. The output has no time stamps in
// it, so packing the same files twice gives the same bytes.
package main

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	from := flag.String("from", "", "folder that holds the source files")
	to := flag.String("to", "internal/demo/data", "folder to write the .gz files to")
	flag.Parse()
	if err := packAll(*from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func packAll(from, to string) error {
	sources := []string{
		"messages-dialog.jsonl",
		"messages-irc.jsonl",
		"messages-irc-multiline.jsonl",
		"messages-support.jsonl",
		"messages-tatoeba.jsonl",
		"names.jsonl",
		"cities.jsonl",
		"blns.json",
		"csv-hazards.json",
		"csv-hazards-long.json",
		"csv-hazard-records.json",
	}
	for _, name := range sources {
		if err := packFile(filepath.Join(from, name), filepath.Join(to, name+".gz")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func packFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	packed, err := gzip.NewWriterLevel(target, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(packed, source); err != nil {
		return err
	}
	return packed.Close()
}
