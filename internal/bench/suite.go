package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// sizes are how much each line measures.
type sizes struct {
	rounds int // of lines a, b and c; their figures are medians

	scan   int // a: rows of a scan
	encode int // b: rows of a pass

	export int   // c: rows of an export
	memory []int // d: rows of the exports

	scale         int // e: rows of an export
	scalePartRows int
	scaleRate     float64 // rows/s of each stream

	cost     int   // f: rows of an export
	costs    []int // f: parts
	costRuns int

	fairness     int // g: rows of the large export
	fairnessRuns int // small exports, alone and beside it

	dev       int // h: bytes of an export, and of an upload
	devRounds int // uploads

	listUsers, listMessages int // i: rows under the lists
	listRequests            int // without an export, and beside one

	overview int // j: messages of the window

	told int // k: rounds

	alone int // l: documents
}

// fullSizes make a run of about twenty minutes on two idle cores, most of it loading five million messages
// and waiting for line e.
func fullSizes() sizes {
	return sizes{
		rounds: 5, scan: 200_000, encode: 20_000, export: 1_000_000, memory: []int{100_000, 1_000_000, 5_000_000},
		scale: 640_000, scalePartRows: 10_500, // 64 parts: two for each of line e's 32 streams
		scaleRate: 8_000,
		cost:      100_000, costs: []int{1, 10, 100}, costRuns: 5,
		fairness: 5_000_000, fairnessRuns: 50,
		dev: 1 << 30, devRounds: 3,
		listUsers: 200_000, listMessages: 1_000_000, listRequests: 60 * listsPerSecond,
		overview: 2_000_000,
		told:     10,
		alone:    20_000,
	}
}

// times makes everything but the number of rounds and parts smaller.
func (s sizes) times(fraction float64) sizes {
	s.memory = slices.Clone(s.memory)
	for _, n := range []*int{&s.scan, &s.encode, &s.export, &s.memory[0], &s.memory[1], &s.memory[2], &s.scale, &s.scalePartRows, &s.cost, &s.fairness, &s.dev, &s.listUsers, &s.listMessages, &s.listRequests, &s.overview, &s.alone} {
		*n = max(1_000, int(float64(*n)*fraction))
	}
	return s
}

// messages is how many messages the embedded cloud needs for lines.
func (s sizes) messages(lines []string) int {
	need := map[string]int{"c": s.export, "d": slices.Max(s.memory), "e": s.scale, "f": s.cost, "g": s.fairness, "i": s.listMessages, "j": s.overview, "k": max(s.export, s.listMessages)}
	most := 0
	for _, l := range lines {
		most = max(most, need[l])
	}
	return most
}

// suite is one run.
type suite struct {
	sizes    sizes
	data     string // folder of the embedded cloud; empty is a temporary one
	profile  string
	progress io.Writer
	google   bool // whether line l starts Google's emulators, where they are installed

	lines  []string // that are measured
	temp   string   // what is removed at the end
	binary string   // built by the first line that needs it
	bed    *bed     // likewise started
}

func (s *suite) note(format string, args ...any) { fmt.Fprintf(s.progress, format+"\n", args...) }

// run measures lines in order. The table holds what was measured also where an error ends it.
func (s *suite) run(ctx context.Context, lines []string) (table []line, err error) {
	all := map[string]func(context.Context) ([]line, error){
		"a": s.scanLines, "b": s.encodeLines, "c": s.exportLines, "d": s.memoryLines, "e": s.scaleLines, "f": s.costLines, "g": s.fairnessLines,
		"h": s.devLines, "i": s.listLines, "j": s.overviewLines, "k": s.telemetryLines, "l": s.cloudLines,
	}
	s.lines = lines
	for _, name := range lines {
		measure := all[name]
		if measure == nil {
			return table, fmt.Errorf("no line %q", name)
		}
		got, err := measure(ctx)
		for i := range got {
			got[i].name = name
		}
		table = append(table, got...)
		if err != nil {
			return table, fmt.Errorf("line %s: %w", name, err)
		}
	}
	return table, nil
}

// folder is the run's temporary folder.
func (s *suite) folder() (string, error) {
	if s.temp == "" {
		dir, err := os.MkdirTemp("", "exportd-bench-")
		if err != nil {
			return "", fmt.Errorf("make a temporary folder: %w", err)
		}
		s.temp = dir
	}
	return s.temp, nil
}

// exportd is the program that is measured.
func (s *suite) exportd(ctx context.Context) (string, error) {
	if s.binary != "" {
		return s.binary, nil
	}
	temp, err := s.folder()
	if err != nil {
		return "", err
	}
	s.binary, err = build(ctx, temp)
	return s.binary, err
}

// close ends the processes and removes the temporary folder.
func (s *suite) close() error {
	var err error
	if s.bed != nil {
		err = s.bed.close()
	}
	if s.temp != "" {
		err = errors.Join(err, os.RemoveAll(s.temp))
	}
	return err
}
