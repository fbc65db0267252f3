package e2etest

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PostgresBin is the folder of PostgreSQL's programs, "" where it is not installed. Debian puts only psql on
// the PATH.
func PostgresBin() string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // a sound pattern
	if initdb, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(initdb))
	}
	for _, folder := range folders {
		found := true
		for _, program := range []string{"initdb", "postgres", "psql"} {
			_, err := exec.LookPath(filepath.Join(folder, program))
			found = found && err == nil
		}
		if found {
			return folder
		}
	}
	return ""
}

// Postgres is a PostgreSQL server of its own, which ends with the test.
type Postgres struct {
	bin, folder string
	owner       *syscall.Credential // nil: who runs the test
}

// StartPostgres makes a new cluster and serves it on a socket in a folder that only its owner can enter, and
// on no port.
func StartPostgres(tb testing.TB, bin string) *Postgres {
	tb.Helper()
	// Not tb.TempDir: its parent is closed to other users, and a socket's path must be short.
	folder, err := os.MkdirTemp("", "exportd-pg-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			tb.Errorf("remove the cluster: %v", err)
		}
	})
	p := &Postgres{bin: bin, folder: folder}
	if os.Geteuid() == 0 { // as which PostgreSQL refuses to run
		if p.owner, err = unprivileged(); err != nil {
			tb.Fatal(err)
		}
		p.give(tb, folder)
	}
	cluster := filepath.Join(folder, "data")
	initdb := p.start(tb, "initdb", "--pgdata", cluster, "--username", "exportd", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if code := initdb.Wait(tb, startWithin); code != 0 {
		tb.Fatalf("initdb: exit code %d\n%s", code, initdb.Stderr())
	}
	server := p.start(tb, "postgres", "-D", cluster, "-c", "listen_addresses=", "-c", "unix_socket_directories="+folder, "-c", "fsync=off")
	tb.Cleanup(func() { // before Start's own, whose kill would leave shared memory behind
		server.Signal(syscall.SIGINT)
		select {
		case <-server.Done():
		case <-time.After(startWithin):
			tb.Error("postgres does not stop")
		}
	})
	server.WaitLine(tb, startWithin, func(line string) string {
		if strings.Contains(line, "ready to accept connections") {
			return line
		}
		return ""
	})
	return p
}

// unprivileged is the user that runs PostgreSQL in the place of root: Debian's own, or nobody.
func unprivileged() (*syscall.Credential, error) {
	u, err := osuser.Lookup("postgres")
	if err != nil {
		if u, err = osuser.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("find a user for PostgreSQL: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// give makes a file the server's.
func (p *Postgres) give(tb testing.TB, path string) {
	tb.Helper()
	if p.owner == nil {
		return
	}
	if err := os.Chown(path, int(p.owner.Uid), int(p.owner.Gid)); err != nil {
		tb.Fatal(err)
	}
}

func (p *Postgres) start(tb testing.TB, program string, args ...string) *Process {
	tb.Helper()
	return startAs(tb, p.owner, p.folder, []string{"LC_ALL=C", "TZ=UTC"}, filepath.Join(p.bin, program), args...)
}

// Env tells programs that use PostgreSQL's own library where the server is.
func (p *Postgres) Env() []string {
	return []string{"PGHOST=" + p.folder, "PGUSER=exportd", "PGDATABASE=postgres", "PATH=" + p.bin + ":" + os.Getenv("PATH")}
}

// CopyForm says how a file is written, and who reads it.
type CopyForm struct {
	Delimiter byte // 0 is the comma
	NoHeader  bool
	Client    bool // psql's \copy, in the place of the server
	// Program is what the file goes through, as iconv with its flags; "" for none.
	Program string
}

// Copy reads a file with COPY into a new table of text columns and returns the table's rows, under a header
// row of the names. NULL, which is what COPY makes of an empty cell, is "".
//
// The server reads the file itself: psql before version 18 ends its input at a line \. even inside a quoted
// cell.
func (p *Postgres) Copy(tb testing.TB, columns []string, file []byte) [][]string {
	tb.Helper()
	rows, err := p.CopyAs(tb, columns, file, CopyForm{}, "")
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

// CopyAs is Copy in any form, NULL being a text of the caller's.
func (p *Postgres) CopyAs(tb testing.TB, columns []string, file []byte, form CopyForm, null string) ([][]string, error) {
	tb.Helper()
	path := filepath.Join(p.folder, "export.csv")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return nil, err
	}
	p.give(tb, path)
	names := `"` + strings.Join(columns, `", "`) + `"`
	cells := make([]string, len(columns)) // as hexadecimal digits, which nothing on the way back changes
	for i, name := range columns {
		cells[i] = fmt.Sprintf(`encode(convert_to(coalesce("%s", convert_from('\x%x', 'UTF8')), 'UTF8'), 'hex')`, name, null)
	}
	command, from := "COPY", "'"+path+"'"
	if form.Program != "" {
		from = "PROGRAM '" + form.Program + " " + path + "'"
	}
	if form.Client {
		command = `\copy`
	}
	psql := p.start(tb, "psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--host", p.folder, "--username", "exportd", "--dbname", "postgres",
		"--command", `DROP TABLE IF EXISTS export`,
		"--command", `CREATE TABLE export ("row number" bigint GENERATED ALWAYS AS IDENTITY, `+strings.Join(strings.Split(names, ", "), " text, ")+` text)`,
		"--command", fmt.Sprintf(`%s export (%s) FROM %s WITH (FORMAT csv, HEADER %t, DELIMITER E'\x%02x', ENCODING 'UTF8')`, command, names, from,
			!form.NoHeader, cmp.Or(form.Delimiter, ',')),
		"--command", `COPY (SELECT `+strings.Join(cells, ", ")+` FROM export ORDER BY "row number") TO STDOUT`)
	if code := psql.Wait(tb, startWithin); code != 0 {
		return nil, fmt.Errorf("psql: exit code %d\n%s", code, psql.Stderr())
	}
	rows := [][]string{columns}
	for line := range strings.Lines(psql.Stdout()) {
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i, cell := range row {
			text, err := hex.DecodeString(cell)
			if err != nil {
				return nil, fmt.Errorf("psql wrote %.200q: %w", line, err)
			}
			row[i] = string(text)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
