{{- define "pypid.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "pypid.selector" -}}
app.kubernetes.io/name: pypid
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pypid.labels" -}}
{{ include "pypid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* A value as pypid.ini has it: lists by white space, yes and no, no exponents. */}}
{{- define "pypid.value" -}}
{{- if kindIs "slice" . -}}
{{ join " " . }}
{{- else if kindIs "bool" . -}}
{{ ternary "yes" "no" . }}
{{- else if kindIs "float64" . -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{- define "pypid.ini" -}}
{{- range $section, $keys := .Values.config }}
{{- $lines := list }}
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{- $lines = append $lines (printf "%s = %s" $key (include "pypid.value" $value)) }}
{{- end }}
{{- end }}
{{- if $lines }}
[{{ $section }}]
{{ join "\n" $lines }}
{{ end }}
{{- end }}
{{- with .Values.extraConfig }}
{{ . }}
{{- end }}
{{- end }}
