package deployments_test

import (
	"encoding/json"
	"strings"
	"testing"
)

type object = map[string]any

// cloudUnits are what Cloud Monitoring calls Grafana's units.
var cloudUnits = map[string]string{
	"s": "s", "bytes": "By", "binBps": "By/s", "percentunit": "10^2.%", "currencyUSD": "USD", "reqps": "1/s", "cps": "1/s", "rowsps": "1/s", "short": "1", "none": "1",
}

// cloudDashboard is monitoring/dashboard.json in the form of Cloud Monitoring. A column of Grafana's is two
// of its.
func cloudDashboard(t *testing.T) object {
	t.Helper()
	var d struct {
		Title  string
		Panels []struct {
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			FieldConfig              struct {
				Defaults struct {
					Unit       string
					Thresholds struct {
						Steps []struct {
							Color string
							Value *float64
						}
					}
					Custom struct{ Stacking struct{ Mode string } }
				}
			}
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "monitoring/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	records := recorded(ruleGroups(t))
	query := func(expr string) string {
		expr = strings.ReplaceAll(expr, "$__rate_interval", "5m") // ten scrapes of podmonitoring.yaml
		return recordName.ReplaceAllStringFunc(expr, func(name string) string { return "(" + records[name] + ")" })
	}
	var tiles []any
	for _, p := range d.Panels {
		f := p.FieldConfig.Defaults
		ask := func(i int) object {
			if cloudUnits[f.Unit] == "" {
				t.Errorf("%s: no unit of Cloud Monitoring's is %q", p.Title, f.Unit)
			}
			return object{"prometheusQuery": query(p.Targets[i].Expr), "unitOverride": cloudUnits[f.Unit]}
		}
		// The worst colour's limit: above the others' it is too much, below them too little.
		var limits []any
		for i, s := range f.Thresholds.Steps {
			switch {
			case s.Value != nil && (s.Color == "yellow" || s.Color == "red"):
				if f.Thresholds.Steps[0].Color != "red" {
					limits = append(limits, object{"value": *s.Value, "color": strings.ToUpper(s.Color), "direction": "ABOVE"})
				}
			case s.Value == nil && s.Color == "red" && i+1 < len(f.Thresholds.Steps):
				limits = append(limits, object{"value": *f.Thresholds.Steps[i+1].Value, "color": "RED", "direction": "BELOW"})
			}
		}
		widget := object{"title": p.Title}
		switch {
		case p.Type == "row":
			widget["sectionHeader"] = object{"dividerBelow": true}
		case strings.Contains(p.Targets[0].Expr, "ALERTS{"):
			widget["incidentList"] = object{} // Cloud Monitoring's own alerts are no metric
		case p.Type == "stat":
			widget["scorecard"] = object{"timeSeriesQuery": ask(0), "thresholds": limits}
		default:
			plot := "LINE"
			if f.Custom.Stacking.Mode == "normal" {
				plot = "STACKED_AREA"
			}
			var sets []any
			for i, target := range p.Targets {
				legend := strings.NewReplacer("{{", "${metric.label.", "}}", "}").Replace(target.LegendFormat)
				sets = append(sets, object{"timeSeriesQuery": ask(i), "plotType": plot, "legendTemplate": legend, "targetAxis": "Y1"})
			}
			chart := object{"dataSets": sets, "yAxis": object{"scale": "LINEAR"}}
			var lines []any
			for _, l := range limits {
				lines = append(lines, object{"value": l.(object)["value"], "targetAxis": "Y1"})
			}
			if lines != nil {
				chart["thresholds"] = lines
			}
			widget["xyChart"] = chart
		}
		tiles = append(tiles, object{"xPos": 2 * p.GridPos.X, "yPos": 2 * p.GridPos.Y, "width": 2 * p.GridPos.W, "height": 2 * p.GridPos.H, "widget": widget})
	}
	return object{"displayName": d.Title, "mosaicLayout": object{"columns": 48, "tiles": tiles}}
}
