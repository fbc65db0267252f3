package bom

import (
	"bytes"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// TestModules: of modules of two licences and the standard library none is unknown, and what is written of
// them is the same twice. (A test's own program has no list of modules.)
func TestModules(t *testing.T) {
	t.Parallel()
	want := map[string]string{"github.com/CycloneDX/cyclonedx-go": "Apache-2.0", "golang.org/x/mod": "BSD-3-Clause"}
	info := &debug.BuildInfo{GoVersion: runtime.Version()}
	for path := range want {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		info.Deps = append(info.Deps, &debug.Module{Path: path, Version: strings.TrimSpace(string(out)), Sum: "h1:x"})
	}
	modules, err := of(info)
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) != 3 || modules[0].Path != "std" || modules[0].Licences[0] != "BSD-3-Clause" {
		t.Fatalf("%d modules, the first is %+v", len(modules), modules[0].Path)
	}
	for _, m := range modules {
		if id, ok := want[m.Path]; ok && (len(m.Licences) != 1 || m.Licences[0] != id || m.Sum == "") {
			t.Errorf("%+v", m.Licences)
		}
		delete(want, m.Path)
	}
	if len(want) > 0 {
		t.Errorf("not among the modules: %v", want)
	}
	c := Component{Name: "exportd", Version: "1.2.3", Commit: "abc", Time: time.Unix(1_790_000_000, 0)}
	one, err1 := Write(c, modules)
	two, err2 := Write(c, modules)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) || !bytes.Contains(one, []byte(`"pkg:golang/golang.org/x/mod@`)) {
		t.Errorf("%v, %v\n%s", err1, err2, one)
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                            "Apache-2.0",
		"Redistribution and  use in source and binary forms ... Neither the name": "BSD-3-Clause",
		"Redistribution and use in source\nand binary forms, with":                "BSD-2-Clause",
		"Permission is hereby granted, free of charge, to any":                    "MIT",
		"All rights reserved.": "",
	} {
		if got := identify([]byte(text)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
