{{/* Labels of an object. Takes root, app and component. */}}
{{- define "dynamic-mcp.labels" -}}
app: {{ .app }}
app.kubernetes.io/name: dynamic-mcp
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* Image of a service. Takes root and service. */}}
{{- define "dynamic-mcp.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := index $image.digests .service -}}
{{ $image.registry }}/dynamic-mcp-{{ .service }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Namespace of a pool. Takes root and pool. */}}
{{- define "dynamic-mcp.poolNamespace" -}}
{{- if and (eq .pool.engine "docker") (eq .root.Values.executors.docker.mode "node") -}}
{{ .root.Values.namespaces.executors }}
{{- else -}}
{{ .root.Release.Namespace }}
{{- end -}}
{{- end }}

{{/* Namespaces that have executors, sorted, separated by commas. */}}
{{- define "dynamic-mcp.executorNamespaces" -}}
{{- $found := list -}}
{{- range $name, $pool := .Values.executors.pools -}}
{{- $found = append $found (include "dynamic-mcp.poolNamespace" (dict "root" $ "pool" $pool)) -}}
{{- end -}}
{{ $found | uniq | sortAlpha | join "," }}
{{- end }}

{{/* What every pod says of itself. Takes root, and group for a further group. */}}
{{- define "dynamic-mcp.pod" -}}
automountServiceAccountToken: false
# Or every Service of the namespace would become variables of this process.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ div (add .root.Values.shutdown.minDelayMs .root.Values.shutdown.graceMs 10000) 1000 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  {{- with .group }}
  supplementalGroups: [{{ . }}]
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "dynamic-mcp.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: ['ALL']
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* Takes the name of the port. */}}
{{- define "dynamic-mcp.probes" -}}
livenessProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  initialDelaySeconds: 5
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 6
{{- end }}

{{/* A new pod is ready before an old one goes. Takes app, and pool for executors. */}}
{{- define "dynamic-mcp.rollout" -}}
revisionHistoryLimit: 3
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxUnavailable: 0
    maxSurge: 1
selector:
  matchLabels:
    app: {{ .app }}
    {{- with .pool }}
    pool: {{ . }}
    {{- end }}
{{- end }}

{{- define "dynamic-mcp.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        app: {{ $.app }}
        {{- with $.pool }}
        pool: {{ . }}
        {{- end }}
  {{- end }}
{{- end }}

{{/* Data of a ConfigMap: settings of the template, and those of the values over them. */}}
{{- define "dynamic-mcp.data" -}}
{{- range $name, $value := merge (dict) .config .settings }}
{{ $name }}: {{ $value | toString | squote }}
{{- end }}
{{- end }}

{{/* Settings that all programs have. */}}
{{- define "dynamic-mcp.shared" -}}
LOG_FORMAT: json
LOG_LEVEL: info
MCP_INTERNAL_TLS_CA: /etc/dynamic-mcp/tls/ca.crt
MCP_INTERNAL_TLS_CERT: /etc/dynamic-mcp/tls/tls.crt
MCP_INTERNAL_TLS_KEY: /etc/dynamic-mcp/tls/tls.key
MCP_SHUTDOWN_GRACE_MS: {{ .Values.shutdown.graceMs | toString | quote }}
MCP_SHUTDOWN_MIN_DELAY_MS: {{ .Values.shutdown.minDelayMs | toString | quote }}
{{- end }}

{{/* Keys as they stand in the store, under the Secret's name. Takes namespace, name and entries. */}}
{{- define "dynamic-mcp.keysFromStore" }}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ index . 1 }}
  namespace: {{ index . 0 }}
  labels:
    app.kubernetes.io/name: dynamic-mcp
spec:
  refreshInterval: 1h
  secretStoreRef:
    kind: SecretStore
    name: dynamic-mcp
  target:
    name: {{ index . 1 }}
    creationPolicy: Owner
  data:
    {{- range $entry := index . 2 }}
    - secretKey: {{ $entry }}
      remoteRef:
        key: dynamic-mcp/{{ index $ 1 }}
        property: {{ $entry }}
    {{- end }}
{{- end }}
