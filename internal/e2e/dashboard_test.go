package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of the dashboard, drawn in Chromium; needs npm ci --prefix internal/e2e/testdata/dashboard")

// panel is one of deployments/monitoring/dashboard.json.
type panel struct {
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Options                  struct{ TextMode string }
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Min           *float64
			Thresholds    struct{ Steps []json.RawMessage }
			Mappings      []struct {
				Options map[string]struct{ Text string }
			}
			Custom struct {
				Stacking        struct{ Mode string }
				FillOpacity     int
				ThresholdsStyle struct{ Mode string }
			}
		}
	}
	Targets []struct {
		Expr, LegendFormat string
		Instant            bool
	}
}

// drawn is a panel as testdata/dashboard/page.html draws it.
type drawn struct {
	Type        string            `json:"type"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	GridPos     map[string]int    `json:"gridPos"`
	Unit        string            `json:"unit"`
	NoValue     string            `json:"noValue"`
	TextMode    string            `json:"textMode"`
	Min         *float64          `json:"min,omitempty"`
	Stacked     bool              `json:"stacked"`
	Fill        int               `json:"fill"`
	Thresholds  []json.RawMessage `json:"thresholds"`
	Shown       bool              `json:"showThresholds"`
	Mappings    map[string]string `json:"mappings"`
	Series      []drawnSeries     `json:"series"`
}

type drawnSeries struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
}

// drawnPoints is how many a panel has over its width.
const drawnPoints = 240

// showDashboard asks a Prometheus what each panel of the dashboard shows of a run. All have data, or say why
// there is none; it returns the titles of those. With -screenshots it has Chromium draw them.
func showDashboard(t *testing.T, prom *prometheus, from time.Time, name string) (empty []string) {
	t.Helper()
	raw, err := os.ReadFile("../../deployments/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	to := time.Now()
	step := max(time.Second, to.Sub(from)/drawnPoints).Truncate(time.Second)
	page := struct {
		Times  []int64            `json:"times"`
		Panels []drawn            `json:"panels"`
		Alerts []map[string]int64 `json:"alerts"`
	}{Alerts: []map[string]int64{}}
	for at := from.Unix(); at <= to.Unix(); at += int64(step / time.Second) {
		page.Times = append(page.Times, at)
	}
	for _, p := range board.Panels {
		d := p.drawn()
		for _, target := range p.Targets {
			d.Series = append(d.Series, prom.over(t, target.Expr, target.LegendFormat, page.Times, step)...)
		}
		if p.Type != "row" && !slices.ContainsFunc(d.Series, drawnSeries.some) {
			empty = append(empty, p.Title)
			if d.NoValue == "" {
				t.Errorf("the panel %q has no data and does not say why: %v", p.Title, p.Targets)
			}
		}
		page.Panels = append(page.Panels, d)
	}
	for _, s := range prom.over(t, `max by (alertname) (ALERTS{alertstate="firing",alertname=~"Exportd.*"})`, "", page.Times, step) {
		for i := 0; i < len(s.Values); i++ {
			first := i
			for i < len(s.Values) && s.Values[i] != nil {
				i++
			}
			if i > first {
				page.Alerts = append(page.Alerts, map[string]int64{"from": page.Times[first], "to": page.Times[i-1]})
			}
		}
	}
	t.Logf("dashboard: %d panels; empty, and saying why: %s", len(board.Panels), strings.Join(empty, ", "))
	if *screenshots != "" {
		data, err := json.Marshal(page)
		if err != nil {
			t.Fatal(err)
		}
		last := board.Panels[len(board.Panels)-1].GridPos
		draw(t, data, (last.Y+last.H)*38+20, filepath.Join(*screenshots, name+".png"))
	}
	return empty
}

func (p panel) drawn() drawn {
	f := p.FieldConfig.Defaults
	d := drawn{
		Type: p.Type, Title: p.Title, Description: p.Description, GridPos: map[string]int{"x": p.GridPos.X, "y": p.GridPos.Y, "w": p.GridPos.W, "h": p.GridPos.H},
		Unit: f.Unit, NoValue: f.NoValue, TextMode: p.Options.TextMode, Min: f.Min, Stacked: f.Custom.Stacking.Mode == "normal", Fill: f.Custom.FillOpacity,
		Thresholds: f.Thresholds.Steps, Shown: f.Custom.ThresholdsStyle.Mode != "", Mappings: map[string]string{}, Series: []drawnSeries{},
	}
	for _, m := range f.Mappings {
		for value, to := range m.Options {
			d.Mappings[value] = to.Text
		}
	}
	return d
}

func (s drawnSeries) some() bool {
	return slices.ContainsFunc(s.Values, func(v *float64) bool { return v != nil })
}

var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

// over gives what a query came to at times, as Grafana asks: a rate over four steps at least.
func (p *prometheus) over(t *testing.T, expr, legend string, times []int64, step time.Duration) []drawnSeries {
	t.Helper()
	expr = strings.ReplaceAll(expr, "$__rate_interval", max(4*step, 10*time.Second).String())
	query := url.Values{"query": {expr}, "start": {strconv.FormatInt(times[0], 10)}, "end": {strconv.FormatInt(times[len(times)-1], 10)}, "step": {step.String()}}
	r, err := e2etest.Send(t.Context(), http.MethodGet, p.url+"/api/v1/query_range", query, nil)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("%s: %v %s", expr, err, r.Body)
	}
	var got struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	var out []drawnSeries
	for _, s := range got.Data.Result {
		d := drawnSeries{
			Name:   legendLabel.ReplaceAllStringFunc(legend, func(m string) string { return s.Metric[strings.Trim(m, "{}")] }),
			Values: make([]*float64, len(times)),
		}
		for _, v := range s.Values {
			at, isNumber := v[0].(float64)
			value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			i := int((int64(at) - times[0]) / int64(step/time.Second))
			if isNumber && err == nil && i >= 0 && i < len(times) && !math.IsNaN(value) && !math.IsInf(value, 0) {
				d.Values[i] = &value
			}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b drawnSeries) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// draw makes a picture of what page.html shows of data.
func draw(t *testing.T, data []byte, height int, path string) {
	t.Helper()
	read := func(name string) string {
		body, err := os.ReadFile(filepath.Join("testdata/dashboard", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	// A script ends at "</script": JSON has it escaped.
	page := strings.NewReplacer(
		"/*UPLOT.CSS*/", read("node_modules/uplot/dist/uPlot.min.css"), "/*UPLOT.JS*/", read("node_modules/uplot/dist/uPlot.iife.min.js"), "/*DATA*/null", string(data),
	).Replace(read("page.html"))
	html := filepath.Join(t.TempDir(), "dashboard.html")
	if err := os.WriteFile(html, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
		"--window-size=1816," + strconv.Itoa(height), "--screenshot=" + path, "--virtual-time-budget=5000", "file://" + html,
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to run as root with one
	}
	if out, err := exec.CommandContext(t.Context(), "chromium", args...).CombinedOutput(); err != nil {
		t.Fatalf("Chromium: %v\n%s", err, out)
	}
	t.Logf("%s shows it", path)
}
