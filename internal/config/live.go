package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// ReloadVar names the file of settings that a process takes anew while it runs.
const ReloadVar = "EXPORTD_RELOAD_FILE"

// live are the settings that the file may hold: those that each process keeps for itself and can change
// between two requests. Others are shared with what was made of them at the start (connections, slots,
// leases), or must be the same in all processes: of these a file that reaches pods one after the other makes
// a fleet of two minds.
var live = []string{
	"EXPORTD_LOG_LEVEL",
	"EXPORTD_RATE_IP_PER_SECOND", "EXPORTD_RATE_IP_BURST", "EXPORTD_RATE_KEY_PER_SECOND", "EXPORTD_RATE_KEY_BURST",
	"EXPORTD_TRUSTED_PROXIES",
}

// Live says whether a setting is taken anew while a process runs.
func (s Setting) Live() bool { return slices.Contains(live, s.Var) }

// Meaning is what there is to say of a setting.
func (s Setting) Meaning() string {
	if s.Live() {
		return s.Doc + ". Taken anew from `" + ReloadVar + "`"
	}
	return s.Doc
}

// maxReload bounds the file: a ConfigMap has 1 MiB, and these settings need none of it.
const maxReload = 64 << 10

// overlay reads the file, lines of NAME=value, empty ones and comments, and gives settings as it has them,
// and else as the environment has them.
func overlay(path string, getenv func(string) string) (func(string) string, Faults) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return getenv, Faults{fmt.Sprintf("%s: %v", ReloadVar, err)}
	}
	if len(raw) > maxReload {
		return getenv, Faults{fmt.Sprintf("%s: %s has %d bytes, over %d", ReloadVar, path, len(raw), maxReload)}
	}
	var faults Faults
	values := map[string]string{}
	n := 0
	for line := range strings.Lines(string(raw)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%s: line %d of %s is not NAME=value", ReloadVar, n, path))
		case !slices.Contains(live, name):
			faults = append(faults, fmt.Sprintf("%s: line %d of %s: %s is not taken anew while a process runs; set it in the environment", ReloadVar, n, path, name))
		default:
			values[name] = value
		}
	}
	return func(name string) string {
		if v, ok := values[name]; ok {
			return v
		}
		return getenv(name)
	}, faults
}
