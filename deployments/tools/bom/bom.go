// Package bom tells what is in a program: its modules, as CycloneDX, and their licences.
package bom

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"golang.org/x/mod/module"

	"exportd/deployments/tools/compile"
)

// Module is one that a program was linked with.
type Module struct {
	Path, Version string
	Sum           string            // as go.sum has it
	Texts         map[string][]byte // its licences, by the names of the files
	Licences      []string          // their SPDX identifiers
}

// Modules are those of programs, sorted, the standard library first. One without a licence that is known is
// an error.
func Modules(programs ...string) ([]Module, error) {
	var infos []*debug.BuildInfo
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("read what %s was made of: %w", program, err)
		}
		infos = append(infos, info)
	}
	return of(infos...)
}

func of(infos ...*debug.BuildInfo) ([]Module, error) {
	found := map[string]Module{}
	for _, info := range infos {
		found["std"] = Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
		for _, d := range info.Deps {
			if d.Replace != nil {
				return nil, fmt.Errorf("%s is replaced, and not what go.sum names", d.Path)
			}
			found[d.Path] = Module{Path: d.Path, Version: d.Version, Sum: d.Sum}
		}
	}
	out := make([]Module, 0, len(found))
	for _, m := range found {
		if err := m.read(); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Module) int {
		if (a.Path == "std") != (b.Path == "std") {
			return cmp.Compare(b.Path, "std") // no module is named so
		}
		return cmp.Compare(a.Path, b.Path)
	})
	return out, nil
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense)([.-].*)?$`)

// read reads a module's licences, where the go command keeps its files.
func (m *Module) read() error {
	dir, err := m.folder()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("licences of %s: %w", m.Path, err)
	}
	m.Texts = map[string][]byte{}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		m.Texts[e.Name()] = text
		if id := identify(text); id != "" && !slices.Contains(m.Licences, id) {
			m.Licences = append(m.Licences, id)
		}
	}
	slices.Sort(m.Licences)
	if len(m.Licences) == 0 {
		return fmt.Errorf("licences of %s: none in %s that is known", m.Path, dir)
	}
	return nil
}

func (m *Module) folder() (string, error) {
	name := "GOMODCACHE"
	if m.Path == "std" {
		name = "GOROOT"
	}
	dir, err := compile.Setting(name)
	if m.Path == "std" || err != nil {
		return dir, err
	}
	path, err1 := module.EscapePath(m.Path)
	version, err2 := module.EscapeVersion(m.Version)
	return filepath.Join(dir, filepath.FromSlash(path)+"@"+version), errors.Join(err1, err2)
}

// identify gives the SPDX identifier of a licence's text by what only that says, "" for one that is not
// known.
func identify(text []byte) string {
	plain := string(bytes.Join(bytes.Fields(text), []byte(" ")))
	has := func(s string) bool { return strings.Contains(plain, s) }
	switch {
	case has("Apache License") && has("Version 2.0"):
		return "Apache-2.0"
	case has("Mozilla Public License") && has("2.0"):
		return "MPL-2.0"
	case has("Redistribution and use in source and binary forms") && (has("Neither the name") || has("may not be used to endorse") || has("nor the names of")):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Permission to use, copy, modify, and/or distribute this software for any purpose"), has("Permission to use, copy, modify, and distribute this software for any purpose"):
		return "ISC"
	case has("This is free and unencumbered software released into the public domain"):
		return "Unlicense"
	}
	return ""
}

// Component is the whole that a bill of materials is of.
type Component struct {
	Name, Version, Commit string
	Time                  time.Time
}

// Write gives the modules as CycloneDX's JSON, the same bytes for the same modules.
func Write(c Component, modules []Module) ([]byte, error) {
	b := cdx.NewBOM()
	b.Metadata = &cdx.Metadata{
		Timestamp: c.Time.UTC().Format(time.RFC3339),
		Component: &cdx.Component{
			BOMRef: "exportd", Type: cdx.ComponentTypeApplication, Name: c.Name, Version: c.Version,
			Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
			Properties: &[]cdx.Property{{Name: "exportd:commit", Value: c.Commit}},
		},
	}
	var components []cdx.Component
	for _, m := range modules {
		one := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: "pkg:golang/" + m.Path + "@" + m.Version}
		one.BOMRef = one.PackageURL
		var licences cdx.Licenses
		for _, id := range m.Licences {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: id}})
		}
		one.Licenses = &licences
		if m.Sum != "" {
			one.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
		}
		components = append(components, one)
	}
	b.Components = &components
	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(b)
	return out.Bytes(), err
}
