//! The list of cases: one test for each, each engine and each language.

/// Makes a test of every case; `$engine` is an async function that gives the engine under test,
/// `$language` one of its languages: `javascript` or `python`.
#[macro_export]
macro_rules! conformance {
    ($engine:path, javascript) => {
        $crate::conformance!(@shared $engine, Node);
        $crate::conformance!(@tests $engine, Node; javascript:
            every_global_of_the_contract_is_there,
            the_globals_do_what_the_web_says,
            values_of_javascript_are_what_its_json_says,
            fault_70_replaced_builtins_are_the_codes_own_matter,
        );
    };
    ($engine:path, python) => {
        $crate::conformance!(@shared $engine, Python);
        $crate::conformance!(@tests $engine, Python; python:
            values_of_python_are_what_the_page_says,
            fault_70_what_json_cannot_hold_is_named_with_its_place,
            any_indentation_is_the_authors,
            tasks_threads_and_loops_are_the_languages_own,
            fault_72_python_ends_of_its_own_are_no_success,
            fault_23_closed_streams_are_an_answer,
            fault_69_frames_that_the_code_writes_are_text,
            fault_10_printed_text_of_every_kind_is_one_text,
            fault_30_31_a_child_that_goes_on_holds_nobody,
        );
    };
    (@shared $engine:path, $runtime:ident) => {
        $crate::conformance!(@tests $engine, $runtime; contract:
            a_value_comes_back_as_json,
            arguments_arrive_unchanged,
            a_throw_is_the_tools_failure_with_its_message,
            a_stack_names_the_lines_of_the_tool,
            the_console_is_printed_in_order_with_its_level,
            logs_and_progress_arrive_as_they_happen,
            the_context_says_what_runs,
            a_dropped_execution_tells_the_code_and_then_ends_it,
        );
        $crate::conformance!(@tests $engine, $runtime; abuse:
            fault_02_memory_loops_are_out_of_memory,
            fault_04_what_does_not_end_is_a_timeout,
            fault_06_a_flood_of_output_is_cut_and_the_result_survives,
            fault_06_a_reader_that_does_not_read_holds_nothing,
            fault_07_the_result_is_bounded_exactly,
            fault_09_one_long_line_is_cut,
            fault_13_cpu_time_is_bounded_besides_wall_time,
            fault_17_recursion_and_huge_strings_are_the_tools_failure,
            fault_19_a_cancelled_call_is_gone,
        );
        $crate::conformance!(@tests $engine, $runtime; faults:
            fault_10_odd_characters_are_valid_json,
            fault_16_a_promise_that_cannot_settle_is_a_failure,
            fault_33_large_arguments_and_code_go_through,
            fault_41_calls_share_nothing,
            fault_43_there_is_no_way_out,
            fault_69_printed_frames_are_text,
            fault_70_odd_values_have_a_defined_end,
            fault_71_deep_arguments_are_an_answer,
            fault_72_no_bad_end_is_a_success,
            fault_73_loading_counts_against_the_same_time,
            fault_80_random_numbers_differ_between_calls,
        );
    };
    (@tests $engine:path, $runtime:ident; $group:ident: $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let spoken = suite::spoken::Spoken {
                    engine: $engine().await,
                    runtime: domain::tool::Runtime::$runtime,
                };
                suite::$group::$case(&spoken).await;
                spoken.engine.shutdown().await;
            }
        )+
    };
}
