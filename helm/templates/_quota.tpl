{{/* A quantity of CPU in thousandths of a core: 500m, 2, 0.5. */}}
{{- define "credit-assets.milli" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}{{ trimSuffix "m" $text }}{{- else -}}{{ mulf (float64 $text) 1000 | int64 }}{{- end -}}
{{- end -}}

{{/* A quantity of memory in Ki; without a unit it is in bytes. */}}
{{- define "credit-assets.kibi" -}}
{{- $text := toString . -}}
{{- $units := dict "Ki" 1 "Mi" 1024 "Gi" 1048576 "Ti" 1073741824 -}}
{{- if hasSuffix "i" $text -}}
{{ mul (int64 (substr 0 (int (sub (len $text) 2)) $text)) (get $units (substr (int (sub (len $text) 2)) -1 $text)) }}
{{- else -}}{{ div (int64 (float64 $text)) 1024 }}{{- end -}}
{{- end -}}

{{/* The sum of the largest numbers of a list. Call with (list numbers count). Sorted as text of one length. */}}
{{- define "credit-assets.largest" -}}
{{- $texts := list -}}
{{- range index . 0 -}}{{- $texts = append $texts (printf "1%018d" (int64 .)) -}}{{- end -}}
{{- $sum := int64 0 -}}
{{- $count := index . 1 -}}
{{- range $place, $text := $texts | sortAlpha | reverse -}}
{{- if lt $place (int $count) -}}{{- $sum = add $sum (sub (int64 $text) 1000000000000000000) -}}{{- end -}}
{{- end -}}
{{ $sum }}
{{- end -}}

{{/*
The full name of a profile's priority class. Classes are of the whole cluster: those of this chart have the namespace in
their name, so that a second release in another one neither takes them over nor is refused. A portfolio with a quota of
its own has classes of its own, by which the quota knows its steps. Call with (list $ location "training").
*/}}
{{- define "credit-assets.className" -}}
{{- $root := index . 0 -}}
{{- $at := index . 1 -}}
{{- $name := index . 2 -}}
{{- if has $name (list "training" "serving") -}}
{{- if not $root.Values.priorityClasses.create -}}
{{- fail (printf "profiles: priority_class %s is made by this chart, and priorityClasses.create is false: name a class of the cluster, or null" $name) -}}
{{- end -}}
{{ printf "credit-assets-%s%s-%s" $root.Release.Namespace (ternary $at.suffix "" (gt (len $at.quota) 0)) $name }}
{{- else -}}{{ $name }}{{- end -}}
{{- end -}}

{{/* Profiles as CREDIT_PROFILES has them, with the full names of their classes. Call with (list $ location). */}}
{{- define "credit-assets.profiles" -}}
{{- $root := index . 0 -}}
{{- $at := index . 1 -}}
{{- $found := dict -}}
{{- range $name, $fields := $at.profiles -}}
{{- $kept := dict -}}
{{- range $key, $value := $fields -}}{{- $_ := set $kept $key $value -}}{{- end -}}
{{- with $fields.priority_class -}}{{- $_ := set $kept "priority_class" (include "credit-assets.className" (list $root $at .)) -}}{{- end -}}
{{- $_ := set $found $name $kept -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{/* The classes of all profiles of a location, as JSON; fails where one has none. Call with (list $ location "which quota"). */}}
{{- define "credit-assets.classes" -}}
{{- $root := index . 0 -}}
{{- $at := index . 1 -}}
{{- $classes := list -}}
{{- range $name := list "small" "data" "train-cpu" "train-gpu" -}}
{{- $class := (get $at.profiles $name | default dict).priority_class -}}
{{- if not $class -}}
{{- fail (printf "quota: profile %s has no priority_class, by which a quota tells steps from servers: name one, or leave quota.hard empty (null)" $name) -}}
{{- end -}}
{{- $classes = append $classes (include "credit-assets.className" (list $root $at $class)) -}}
{{- end -}}
{{ toJson ($classes | uniq | sortAlpha) }}
{{- end -}}

{{/* What a quota may limit of the pods of some classes; a scope knows nothing else. */}}
{{- define "credit-assets.scoped" -}}
{{- has . (list "pods" "cpu" "memory" "requests.cpu" "requests.memory" "limits.cpu" "limits.memory") -}}
{{- end -}}

{{/* Steps and profiles of a location as the code has them with its own over it, as JSON. Call with (list $ location). */}}
{{- define "credit-assets.steps" -}}
{{- $root := index . 0 -}}
{{- $at := index . 1 -}}
{{- $table := $root.Files.Get "files/steps.json" | fromJson -}}
{{- range $name, $fields := $at.profiles -}}
{{- $kept := get $table.profiles $name -}}
{{- range $key, $value := $fields -}}{{- $_ := set $kept $key $value -}}{{- end -}}
{{- end -}}
{{- $found := dict -}}
{{- range $given := list $table.steps $at.stepProfiles -}}
{{- range $step, $name := $given -}}
{{- $_ := set $found $step (merge (dict "profile" $name) (get $table.profiles $name)) -}}
{{- end -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{/* Why a step never starts under a quota, with the most memory that it may ask for; as a JSON list. Call with (list steps hard). */}}
{{- define "credit-assets.never" -}}
{{- $hard := index . 1 -}}
{{- $never := list -}}
{{- range $step, $asked := index . 0 -}}
{{- $who := printf "step %s of profile %s" $step $asked.profile -}}
{{- $cpu := include "credit-assets.milli" $asked.cpu | int64 -}}
{{- $most := mul 4 (include "credit-assets.kibi" $asked.memory | int64) -}}
{{- with $asked.max_memory -}}{{- $most = include "credit-assets.kibi" . | int64 -}}{{- end -}}
{{- range $resource := list "requests.cpu" "limits.cpu" -}}
{{- with get $hard $resource -}}
{{- if gt $cpu (include "credit-assets.milli" . | int64) -}}
{{- $never = append $never (printf "%s asks for %dm CPU, and the quota has %v of %s" $who $cpu . $resource) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $resource := list "requests.memory" "limits.memory" -}}
{{- with get $hard $resource -}}
{{- if gt $most (include "credit-assets.kibi" . | int64) -}}
{{- $never = append $never (printf "%s may ask for %dMi after OOM kills, and the quota has %v of %s" $who (div $most 1024) . $resource) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $device := printf "requests.%s" $asked.gpu_resource -}}
{{- if and $asked.gpu (hasKey $hard $device) (gt (int $asked.gpu) (int (get $hard $device))) -}}
{{- $never = append $never (printf "%s asks for %d %s, and the quota has %v" $who (int $asked.gpu) $asked.gpu_resource (get $hard $device)) -}}
{{- end -}}
{{- end -}}
{{ toJson $never }}
{{- end -}}

{{/*
The most that all runs together may ask for at once, as JSON, in thousandths of a core and Ki.

Of a run's steps CREDIT_MAX_CONCURRENT work at a time, the largest ones at worst; steps on a GPU are as many as their pools
have slots, over all runs. files/steps.json has the steps and what they ask for, as the code says it. Of several portfolios
each run may be of the one that asks for most.
Of Jobs: no pod is done in less than ten seconds, and each Job is kept for its profile's ttl_seconds.
*/}}
{{- define "credit-assets.demand" -}}
{{- $runs := int .Values.dagster.concurrency.runs.maxConcurrentRuns -}}
{{- $milli := int64 0 -}}{{- $kibi := int64 0 -}}{{- $pods := int64 0 -}}{{- $jobs := int64 0 -}}
{{- $onGpu := dict "milli" (int64 0) "kibi" (int64 0) -}}{{- $gpus := dict -}}
{{- range $at := include "credit-assets.locations" . | fromJsonArray -}}
{{- $together := int (get $at.settings "CREDIT_MAX_CONCURRENT" | default 3) -}}
{{- $slots := int (get $at.pools "gpu" | default (get $at.pools (printf "%s_gpu" $at.portfolio))) -}}
{{- $cpus := list -}}{{- $memories := list -}}{{- $ttl := int64 0 -}}
{{- $gpuCpu := int64 0 -}}{{- $gpuMemory := int64 0 -}}{{- $devices := dict -}}
{{- $steps := include "credit-assets.steps" (list $ $at) | fromJson -}}
{{- range $asked := $steps -}}
{{- $cpu := include "credit-assets.milli" $asked.cpu | int64 -}}
{{- $memory := include "credit-assets.kibi" $asked.memory | int64 -}}
{{- $ttl = max $ttl (int64 $asked.ttl_seconds) -}}
{{- if $asked.gpu -}}
{{- $gpuCpu = max $gpuCpu $cpu -}}{{- $gpuMemory = max $gpuMemory $memory -}}
{{- $_ := set $devices $asked.gpu_resource (max (int64 $asked.gpu) (get $devices $asked.gpu_resource | default 0 | int64)) -}}
{{- else -}}
{{- $cpus = append $cpus $cpu -}}{{- $memories = append $memories $memory -}}
{{- end -}}
{{- end -}}
{{- $milli = max $milli (include "credit-assets.largest" (list $cpus $together) | int64) -}}
{{- $kibi = max $kibi (include "credit-assets.largest" (list $memories $together) | int64) -}}
{{- $pods = max $pods (min $together (len $steps)) -}}
{{- $jobs = max $jobs (mul (add 1 $together) (add 1 (div (add $ttl 9) 10))) -}}
{{- $_ := set $onGpu "milli" (add $onGpu.milli (mul $slots $gpuCpu)) -}}
{{- $_ := set $onGpu "kibi" (add $onGpu.kibi (mul $slots $gpuMemory)) -}}
{{- range $device, $most := $devices -}}
{{- $name := printf "requests.%s" $device -}}
{{- $_ := set $gpus $name (add (get $gpus $name | default 0) (mul $slots $most)) -}}
{{- end -}}
{{- end -}}
{{- $milli = add (mul $runs $milli) $onGpu.milli -}}
{{- $kibi = add (mul $runs $kibi) $onGpu.kibi -}}
{{- $asks := dict "requests.cpu" $milli "limits.cpu" $milli "requests.memory" $kibi "limits.memory" $kibi -}}
{{- $_ := set $asks "pods" (mul $runs $pods) -}}
{{- $_ := set $asks "count/jobs.batch" (mul $runs $jobs) -}}
{{- range $name, $amount := $gpus -}}{{- $_ := set $asks $name $amount -}}{{- end -}}
{{ toJson $asks }}
{{- end -}}

{{/* Where runs may ask for more at once than the quota lets them have, as a JSON list. */}}
{{- define "credit-assets.waits" -}}
{{- $hard := .Values.quota.hard | default dict -}}
{{- $waits := list -}}
{{- range $resource, $asked := include "credit-assets.demand" . | fromJson -}}
{{- if hasKey $hard $resource -}}
{{- $given := get $hard $resource -}}
{{- $asked = int64 $asked -}}
{{- $has := int64 (float64 0) -}}{{- $words := printf "%d" $asked -}}
{{- if hasSuffix ".memory" $resource -}}
{{- $has = include "credit-assets.kibi" $given | int64 -}}{{- $words = printf "%dMi" (div $asked 1024) -}}
{{- else if hasSuffix ".cpu" $resource -}}
{{- $has = include "credit-assets.milli" $given | int64 -}}{{- $words = printf "%dm" $asked -}}
{{- else -}}{{- $has = int64 (float64 $given) -}}{{- end -}}
{{- if gt $asked $has -}}
{{- $waits = append $waits (printf "%s: %v, while up to %s may be asked for at once" $resource $given $words) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $waits }}
{{- end -}}
